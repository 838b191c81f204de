"""The cases of tests/explorer/shared_cases.json in JavaScript: what Python and the page both compute is the same."""

import json
from pathlib import Path

import pytest

from oatlib.explorer.front_end import script

CASES = (Path(__file__).parents[1] / "explorer" / "shared_cases.json").read_text(encoding="utf-8")
CHECK = """
(cases) => {
  const close = (a, b) => a === b || (a !== null && b !== null && Math.abs(a - b) <= 1e-12 * Math.max(1, Math.abs(b)));
  const results = [];
  const check = (kind, found, wanted, same = (a, b) => JSON.stringify(a) === JSON.stringify(b)) =>
    results.push({ kind, found, wanted, agrees: same(found, wanted) });

  for (const { right, n, interval } of cases.wilson)
    wilson(right / n, n).forEach((end, i) => check("wilson", end, interval[i], close));

  const { slider, places } = cases.slider;
  for (const { position, lam, flat } of places) {
    check("slider", lamAt(slider, position), lam, close);
    if (!flat) check("slider", positionOf(slider, lam), position, close);
  }
  for (const { xs, ys, x, y } of cases.interpolation) check("interpolation", interpolate(xs, ys, x), y, close);
  for (const { ends, clean, robust } of cases.coin) {
    const points = ends.map(([clean, robust]) => ({ clean, robust }));
    check("coin", coinRobustness(points, clean), robust, close);
  }

  for (const { cues, change, multiples } of cases.multiples)
    multiplesOf(cues, change).forEach((one, i) => check("multiples", one, multiples[i], close));
  for (const image of cases.textures) {
    const { erased, forged } = textureEffect(image.multiples, image);
    [erased, ...forged].forEach((one, i) => check("textures", one, [image.erased, ...image.forged][i], close));
  }

  const { lams, eps, order, robust, attacks } = cases.curve;
  const rows = Object.fromEntries(Object.entries(robust).map(([attack, plane]) => [attack, [plane]]));
  const curve = { lams, eps, order, widths: [1], clean: [lams.map(() => 1)], robust: rows };
  for (const { eps, attack } of attacks) check("curve", curveAttack(curve, 1, eps), attack);

  const table = cases.choose;
  const net = { prices: table.macs.map((macs) => ({ macs })) };
  const surface = { lams: table.lams, widths: table.widths, eps: [8], order: ["quick"], clean: table.clean,
    robust: { quick: table.robust.map((row) => [row]) } };
  for (const { min_clean, max_size, lam, width } of table.cases) {
    const found = choose(net, surface, { eps: 8, min_clean, max_size });
    if (lam === null) check("choose", Boolean(found.why), true);
    else check("choose", found, { lam, width });
  }

  const { networks, maxEps, start, written } = cases.state;
  const description = { networks, maxEps, attacks: cases.state.attacks };
  for (const { text, state, error, start: other } of cases.state.cases) {
    let found, message = "";
    try { found = readState(text, other ?? start, description); } catch (fault) { message = fault.message; }
    if (error) check("state", message, error, (a, words) => words.every((word) => a.includes(word)));
    else check("state", message || found, state);
  }
  for (const { text, state, faults: wanted } of cases.state.what_fits) {
    const { state: found, faults } = readWhatFits(text, start, description);
    check("what fits", found, state);
    check("what fits", faults, wanted, (a, b) => a.length === b.length && b.every((word, i) => a[i].includes(word)));
  }
  const long = "x".repeat(1e6);
  for (const text of [`network=${long}`, `compare=${long}`, `${long}=1`, `lam=${long}`, `attack=${long}`, long])
    for (const fault of readWhatFits(text, start, description).faults)
      check("long", fault.length, 300, (a, b) => a < b && fault.includes("x".repeat(60)));
  for (const { state, text } of written) check("written", writeState(state), text);
  return results;
}
"""


KINDS = [
    "wilson",
    "slider",
    "interpolation",
    "coin",
    "curve",
    "multiples",
    "textures",
    "choose",
    "state",
    "what fits",
    "long",
    "written",
]


@pytest.fixture(scope="module")
def results(chromium):
    page = chromium.new_page()
    found = page.evaluate(f"(cases) => {{ {script('effect.js')}\nreturn ({CHECK})(cases); }}", json.loads(CASES))
    page.close()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_computes_the_same(results, kind):
    of_kind = [result for result in results if result["kind"] == kind]
    assert of_kind and [result for result in of_kind if not result["agrees"]] == []


def test_every_kind_of_case_is_checked(results):
    assert {result["kind"] for result in results} == json.loads(CASES).keys() | {"what fits", "long", "written"}
