"""Typical wrong answers to the exercises of the tour, and what the learner is told."""

RIGHT = "def robust_accuracy(answers, y):\n    return (answers == y)"
PICK = "def pick_setting(results, min_clean):\n    return"

WRONG = {
    "robust_accuracy": [
        ("def robust_accuracy(answers, y):\n    return (answers[-1] == y).float().mean().item()", "last point only"),
        (f"{RIGHT}.float().mean().item()", "averages over all points"),
        (f"{RIGHT}.any(0).float().mean().item()", "at some point"),
        (f"{RIGHT}.all(0).sum().item()", "divide by how many"),
        (f"{RIGHT}.all(1).float().mean().item()", "fooled somewhere"),
    ],
    "pick_setting": [
        (f"{PICK} max(results, key=lambda r: r.clean)", "most accurate setting"),
        (f"{PICK} max(results, key=lambda r: r.robust)", "less than min_clean"),
        (f"{PICK} max((r for r in results if r.clean > min_clean), key=lambda r: r.robust)", ">= and not >"),
        (f"{PICK} max(r.robust for r in results if r.clean >= min_clean)", "return the whole result"),
        (f"{PICK} [r for r in results if r.clean >= min_clean][-1]", "order of the results"),
    ],
}  # fmt: skip
