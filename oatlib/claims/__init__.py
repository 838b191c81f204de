"""Claims of the papers, measured again and judged by one rule: the command `oatlib claims`.

* verdict: estimates with intervals, checks, and the rule that turns checks into a verdict.
* measured: functions from records to checks. Nothing is trained or attacked here.
* table: the claims, with what was published, the records, and the commands that repeat them.
* board: reads the records, and prints the board as text, Markdown and JSON.
"""
