"""The command line: `oatlib train`, `oatlib eval`, `oatlib explore` and others.

* main: the parser.
* commands: what each command does.
* doctor: `oatlib doctor`, which checks an installation.
"""
