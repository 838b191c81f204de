"""Typical wrong answers to the exercises of lesson 12, and what the learner is told."""

REDRAW = """def redraw(points, times, generator):
    difficulty = torch.rand(times, points[0]["n"], generator=generator)
    clean = torch.stack([(difficulty < p["clean"]).double().mean(1) for p in points])
    robust = torch.stack([(difficulty < p["robust"]).double().mean(1) for p in points])
    return clean, robust
"""
ANSWER = """def answer(low, high, limit, side="above"):
    if low is None:
        return "unclear"
    if side == "below":
        low, high, limit = -high, -low, -limit
    if low > limit:
        return "yes"
    return "no" if high <= limit else "unclear"
"""
CARRIES = """def carries_over(shapes, photographs):
    if shapes == "no":
        return "nothing to carry"
    if "unclear" in (shapes, photographs):
        return "cannot tell"
    return "carries over" if photographs == "yes" else "does not"
"""
JUDGE = """def judge(checks):
    answers = {"part": [], "control": [], "shown": []}
    for each in checks:
        limit = 0 if each["limit"] is None else each["limit"]
        answers[each["role"]].append(answer(each["low"], each["high"], limit, each["side"]))
    parts, controls = set(answers["part"]), set(answers["control"])
    if "no" in controls or parts == {"no"}:
        return "does not hold here"
    if "unclear" in controls or not parts:
        return "cannot tell"
    if parts == {"yes"}:
        return "holds"
    return "holds partly" if {"yes", "no"} <= parts else "cannot tell"
"""
NEAREST = """def nearest_change(checks):
    before, found = judge(checks), []
    for i, each in enumerate(checks):
        if each["role"] == "shown" or each["unit"] != "points" or each["low"] is None:
            continue
        for end in (each["low"], each["high"]):
            for limit in (end - 0.001, end + 0.001):
                changed = [*checks[:i], each | {"limit": limit}, *checks[i + 1 :]]
                if judge(changed) != before:
                    found.append((abs(limit - each["limit"]), each["text"]))
    return min(found, default=None)
"""
POLICY = "def my_policy(check):\n    "
IN_POINTS = 'if check["limit"] is None:\n        return check\n    return check | '


def changed(code, *pairs):
    """A solution with one mistake, made by one or more replacements."""
    for old, new in pairs:
        assert code.count(old) == 1, old
        code = code.replace(old, new)
    return code


OWN = '(torch.rand(times, p["n"], generator=generator) < p["{0}"])'

WRONG = {
    "redraw": [
        (changed(REDRAW, ("return clean, robust", "return clean")), "two tensors"),
        (changed(REDRAW, ("return clean, robust", "return clean.T, robust.T")), "(points, times)"),
        (REDRAW.replace(".mean(1)", ".sum(1)"), "counts images"),
        (
            changed(REDRAW, ("torch.rand(times,", "torch.rand(1,"), ("return clean, robust", ""))
            + "    return clean.expand(-1, times), robust.expand(-1, times)",
            "all draws are equal",
        ),
        (changed(REDRAW, ("return clean, robust", "return robust, clean")), "clean comes first"),
        (REDRAW.replace("difficulty < p", "difficulty > p"), "below"),
        (changed(REDRAW, ('points[0]["n"]', "16")), "difficulties each time"),
        (
            REDRAW.replace('(difficulty < p["clean"])', OWN.format("clean")).replace(
                '(difficulty < p["robust"])', OWN.format("robust")
            ),
            "same images",
        ),
        (
            changed(
                REDRAW,
                ("    robust", '    difficulty = torch.rand(times, points[0]["n"], generator=generator)\n    robust'),
            ),
            "same difficulties|same\ndifficulties",
        ),
        (changed(REDRAW, (", generator=generator", "")), "depend on the generator"),
    ],
    "answer": [
        ("def answer(low, high, limit, side='above'):\n    return low > limit", "one of 'yes'"),
        (
            changed(
                ANSWER,
                ('    if low is None:\n        return "unclear"\n', "    low = low or 0\n    high = high or 0\n"),
            ),
            "without an interval",
        ),
        (
            changed(ANSWER, ("if low > limit:", "if (low + high) / 2 > limit:")),
            "The middle of an",
        ),
        (changed(ANSWER, ("if low > limit:", "if low > 0:")), "compare with the limit"),
        (
            changed(ANSWER, ('    if side == "below":\n        low, high, limit = -high, -low, -limit\n', "")),
            "side = 'below'",
        ),
        (changed(ANSWER, ("high <= limit", "high < limit")), "2 to 2 should be above 2"),
    ],
    "carries_over": [
        ("def carries_over(shapes, photographs):\n    return shapes == photographs", "one of 'carries over'"),
        (changed(CARRIES, ("in (shapes, photographs)", "in (shapes,)")), "no refusal"),
        (
            changed(CARRIES, ('    if shapes == "no":\n        return "nothing to carry"\n', "")),
            "cannot be carried over",
        ),
        (
            changed(CARRIES, ("in (shapes, photographs)", "in (photographs,)")),
            "shapes 'unclear', photographs 'yes'",
        ),
    ],
    "judge": [
        (changed(JUDGE, ('"no" in controls or ', "")), "a control that fails decides"),
        (
            changed(
                JUDGE,
                (
                    '    if "no" in controls or parts == {"no"}:',
                    '    if {"yes", "no"} <= parts:\n        return "holds partly"\n'
                    '    if "no" in controls or parts == {"no"}:',
                ),
            ),
            "comes first, before",
        ),
        (changed(JUDGE, (' or parts == {"no"}', "")), "if all parts fail"),
        (
            changed(
                JUDGE,
                (' or parts == {"no"}', ""),
                (
                    '    if parts == {"yes"}',
                    '    if parts == {"no"}:\n        return "does not hold here"\n    if parts == {"yes"}',
                ),
            ),
            "before an unclear control",
        ),
        (changed(JUDGE, ('"unclear" in controls or ', "")), "unclear control nothing holds"),
        (changed(JUDGE, (" or not parts", ""), ('parts == {"yes"}', 'parts <= {"yes"}')), "without a part"),
        (changed(JUDGE, ('parts == {"yes"}', 'parts | set(answers["shown"]) == {"yes"}')), "not judged"),
        (changed(JUDGE, ('{"yes", "no"} <= parts', '{"yes", "no"} == parts')), "a part passes and another"),
        (changed(JUDGE, ('parts == {"yes"}', '"no" not in parts')), "no part fails"),
        (changed(JUDGE, ('{"yes", "no"} <= parts', '"no" in parts')), "none passes"),
        (changed(JUDGE, (', each["side"]', "")), "below the limit"),
        ("def judge(checks):\n    return True", "one of cannot tell"),
    ],
    "nearest_change": [
        (changed(NEAREST, ("min(found, default=None)", "found[0] if found else None")), "the first change"),
        (changed(NEAREST, ('abs(limit - each["limit"])', "abs(limit)")), "returns the new limit"),
        (changed(NEAREST, ("min(found, default=None)", "found")), "should return .points, text."),
        (changed(NEAREST, ("(end - 0.001, end + 0.001)", "(end + 0.001,)")), "one part fails.*8.99"),
        (changed(NEAREST, (' or each["unit"] != "points"', "")), "other units"),
        (
            changed(
                NEAREST,
                (
                    'changed = [*checks[:i], each | {"limit": limit}, *checks[i + 1 :]]',
                    'old, each["limit"] = each["limit"], limit',
                ),
                ("judge(changed)", "judge(checks)"),
                ('abs(limit - each["limit"])', "abs(limit - old)"),
            ),
            "make new dicts",
        ),
        (
            changed(
                NEAREST,
                (' or each["low"] is None', ""),
                (
                    "    for i,",
                    '    checks = [{**c, "low": c["low"] or 0, "high": c["high"] or 0} for c in checks]\n    for i,',
                ),
            ),
            "without an interval",
        ),
    ],
    "my_policy": [
        (f"{POLICY}return None", "should return the check"),
        (f'{POLICY}return check | {{"text": "better"}}', "changes what was measured"),
        (f'{POLICY}return check | {{"role": "rival"}}', "a role is one of"),
        (f'{POLICY}return check | {{"role": "shown", "limit": None}}', "may not drop"),
        (f'{POLICY}return check | {{"role": "control"}}', "need a limit"),
        (f"{POLICY}{IN_POINTS}{{'limit': '5'}}", "a limit is a number"),
        (f"{POLICY}{IN_POINTS}{{'limit': -50}}", "asks for nothing"),
        (f"{POLICY}{IN_POINTS}{{'side': 'left'}}", "a side is"),
        (
            "import itertools\nCOUNT = itertools.count()\n\n" + POLICY + IN_POINTS + '{"limit": -1 - next(COUNT) % 7}',
            "no chance and no memory",
        ),
        (f"{POLICY}return check", "changes nothing"),
        (
            f'{POLICY}if "0.25" in check["text"]:\n        return check | {{"limit": -5.0}}\n    return check',
            "names a single row",
        ),
        (
            f'{POLICY}if "width" in check["text"]:\n        return check | {{"limit": -5.0}}\n    return check',
            "and no verdict",
        ),
        (f"{POLICY}return check | {{'role': 'control', 'limit': 10.0}}", "cannot tell claims apart"),
        (f"{POLICY}return check['low']", "KeyError"),
    ],
}
