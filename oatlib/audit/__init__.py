"""The audit: questions that show where a robust accuracy is overestimated.

* report: `check`, which asks all questions, and its report.
* questions: the questions.
* subject: the model under audit and cached attack results.
"""
