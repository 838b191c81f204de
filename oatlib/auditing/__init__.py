"""The audit: questions that show where a robust accuracy is overestimated.

* report: `audit`, which asks all questions, and its report.
* questions: the questions.
* claim: the robust accuracy that is claimed, compared with the measured one.
* finding: the answer to a question: a verdict, numbers, and sentences for people.
* significance: which differences between accuracies are larger than chance.
* subject: the function under audit and cached attack results.
"""
