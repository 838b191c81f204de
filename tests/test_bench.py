"""The figures that the README prints come from these; the measuring itself is not run here."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch

import oatlib
from bench import gpu, once_for_all, picture, readme
from bench.clock import ratio
from bench.family import NETWORKS, PAIRS, gains
from bench.fresh_norm import with_statistics
from bench.trained import named, parse
from oatlib.layers.unit import Unit
from oatlib.record import read_json, write_json


def run(name, seed, *accuracies):
    points = [{"lam": lam, "width": w, "n": 512, "clean": c, "robust": r} for lam, w, c, r in accuracies]
    return {"name": name, "seed": seed, "points": points}


RUNS = [
    run("a", 0, (0, 0.5, 0.80, 0.1), (1, 0.5, 0.70, 0.3), (0, 1, 0.90, 0.2), (1, 1, 0.80, 0.4)),
    run("b", 0, (0, 0.5, 0.70, 0.1), (1, 0.5, 0.70, 0.2), (0, 1, 0.90, 0.1), (1, 1, 0.80, 0.4)),
    run("a", 1, (0, 0.5, 0.80, 0.1), (1, 0.5, 0.80, 0.3), (0, 1, 0.90, 0.2), (1, 1, 0.80, 0.4)),
    run("b", 1, (0, 0.5, 0.60, 0.1), (1, 0.5, 0.70, 0.3), (0, 1, 0.90, 0.2), (1, 1, 0.80, 0.4)),
    run("a", 2, (0, 0.5, 0.1, 0.1), (1, 0.5, 0.1, 0.1), (0, 1, 0.1, 0.1), (1, 1, 0.1, 0.1)),  # no partner: left out
]


def test_gains_are_differences_of_the_same_seed_and_setting():
    found = gains(RUNS, "a", "b")
    assert (found["seeds"], found["n"]) == (2, 512)
    # per seed: clean mean .025 and .075, max .1 and .2, narrowest .05 and .15
    assert found["clean_mean"] == {"mean": 0.05, "plus_minus": pytest.approx(12.706 * 0.025, abs=1e-4)}
    assert found["clean_max"]["mean"] == 0.15 and found["clean_narrowest"]["mean"] == 0.1
    assert found["robust_mean"]["mean"] == pytest.approx((0.05 + 0.0) / 2)


def test_networks_without_a_lambda_dial_gain_nothing_robust():
    runs = [run("a", 0, (0, 0.5, 0.8, 0.0)), run("b", 0, (0, 0.5, 0.7, 0.1))]
    assert "robust_mean" not in gains(runs, "a", "b")


def test_pairs_are_measured_at_the_same_settings():
    for ours, base in PAIRS:
        (_, a, lams), (_, b, others) = NETWORKS[ours], NETWORKS[base]
        assert lams == others and a["widths"] == b["widths"]


def test_a_ratio_is_the_median_of_the_ratios_of_each_round():
    found = ratio({"slow": [2.0, 6.0, 5.0], "fast": [1.0, 2.0, 1.0]}, "slow", "fast")
    assert (found["ratio"], found["slow_ms"], found["fast_ms"], found["rounds"]) == (3.0, 5000.0, 1000.0, 3)


def test_the_pages_print_the_recorded_figures():
    """`python -m bench.readme` writes them; nobody types them."""
    for path, blocks in readme.pages().items():
        text = path.read_text(encoding="utf-8")
        for name, content in blocks.items():
            _, inside, _ = readme.parts(text, name)
            assert inside.strip() == content.strip(), f"{path.name}: run python -m bench.readme"


def along(*accuracies):
    return [{"lam": i / 10, "width": 1, "clean": c, "robust": r} for i, (c, r) in enumerate(accuracies)]


def test_between_tells_a_dial_from_a_switch():
    dip, leap = readme.between(along((0.9, 0.0), (0.8, 0.3), (0.7, 0.6)))
    assert (dip, leap) == (pytest.approx(0.0), pytest.approx(0.5))
    dip, leap = readme.between(along((0.9, 0.0), (0.9, 0.0), (0.3, 0.0), (0.7, 0.6)))
    assert dip == pytest.approx(0.4)
    assert readme.between(along((0.9, 0.0), (0.7, 0.6), (0.7, 0.6)))[1] == pytest.approx(1.0)


def test_a_picture_has_mean_and_band_of_the_seeds():
    runs = [
        {"name": "blend", "points": along((0.9, 0.0), (0.7, 0.5))},
        {"name": "blend", "points": along((0.7, 0.2), (0.7, 0.6))},
    ]
    assert picture.series(runs, "clean") == [(0.0, pytest.approx(0.8), 0.7, 0.9), (0.1, pytest.approx(0.7), 0.7, 0.7)]
    drawn = picture.draw({"runs": runs})
    root = ElementTree.fromstring(drawn)
    assert sum(part.tag.endswith("polyline") for part in root) == 2 * len(picture.PANELS)
    assert all(title in drawn for title in picture.PANELS.values())


def test_the_picture_shows_the_record():
    """`python -m bench.picture` draws it."""
    results = readme.FIRST
    assert (results / "family.svg").read_text(encoding="utf-8") == picture.draw(read_json(results / "family.json"))


def test_fresh_statistics_are_those_of_the_images():
    data = oatlib.load_data("shapes", n_train=64, n_val=16, n_test=16)
    net = oatlib.build("oat", data, dual=False)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    fresh = with_statistics(net, 0.4, data.train.x)
    unit, taken = (next(part for part in n.modules() if isinstance(part, Unit)) for n in (net, fresh))
    norm = next(part for part in taken.modules() if isinstance(part, torch.nn.BatchNorm2d))
    # the input is centred
    arriving = torch.nn.functional.conv2d(
        (data.train.x - 0.5) * 4, unit.conv.weight, stride=unit.conv.stride, padding=1
    )
    assert torch.allclose(norm.running_mean, arriving.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(norm.running_var, arriving.var((0, 2, 3)), rtol=1e-4)
    assert not fresh.training and all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), fresh.parameters(), strict=True))


def test_names_of_trained_networks_say_recipe_and_options():
    assert parse("oat") == ("oat", {})
    assert parse("float redraw=forward density=0.3") == ("float", {"redraw": "forward", "density": 0.3})
    for recipe, options in (("pgd-at", {"lam": 0.2}), ("oats", {"widths": 4}), ("float", {"redraw": "forward"})):
        assert parse(named(recipe, options)) == (recipe, options)


def system(name, seed, *points, width=1.0):
    rows = [{"lam": lam, "width": width, "n": 100, "clean": c, "robust": r, "pgd": r + 0.01} for lam, c, r in points]
    return {"system": name, "seed": seed, "points": rows}


def record_of(runs):
    return {"runs": runs, "n": 100, "attack_text": "an attack", "epochs": 10, "command": "a command"}


def test_the_claim_is_compared_with_both_coins_and_the_best_possible():
    runs = []
    for seed in (0, 1):
        runs.append(system("oat", seed, (0.0, 1.0, 0.0), (0.5, 0.9, 0.6), (1.0, 0.8, 0.7)))
        runs.append(system("dedicated 0", seed, (0.0, 1.0, 0.0)))
        runs.append(system("dedicated 0.5", seed, (0.5, 0.9, 0.7)))
        runs.append(system("dedicated 1", seed, (1.0, 0.8, 0.8)))
        runs.append(system("oats", seed, (0.0, 1.0, 0.0), (1.0, 0.8, 0.5), width=0.5))
    text = "\n".join(readme.once_for_all(record_of(runs)))
    row = next(line for line in text.splitlines() if line.startswith("| OAT, one"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    # at clean >= 98, 95, 90 %: 12, 30, 60; own coin 7, 17.5, 35; coin of the two dedicated networks 8, 20, 40
    assert cells[1:7] == ["2", "100.0 / 0.0", "80.0 / 70.0", "12.0 / 30.0 / 60.0", "+5.0 / +12.5 / +25.0",
                          "+4.0 / +10.0 / +20.0"]  # fmt: skip
    assert "| six dedicated networks | 2 |" in text
    assert "| OATS, width 0.5 | 2 |" in text and "at most 1.0 points more" in text


def test_oat_is_compared_with_the_network_for_its_last_stop():
    runs = []
    for seed, behind in ((0, 0.02), (1, 0.04)):
        runs.append(system("oat", seed, (1.0, 0.8, 0.7), (0.0, 1.0, 0.0)))
        runs.append(system("dedicated 1", seed, (1.0, 0.8, 0.7 + behind)))
        runs.append(system("dedicated 0", seed, (0.0, 1.0, 0.0)))
    text = "\n".join(readme.once_for_all(record_of(runs)))
    assert "OAT is 3.0 points less robust than the network for λ = 1 alone" in text
    without = [run for run in runs if run["system"] != "dedicated 1"]
    assert "less robust" not in "\n".join(readme.once_for_all(record_of(without)))
    half_done = [*runs, system("oat", 2, (1.0, 0.8, 0.1), (0.0, 1.0, 0.0))]  # its seed has no other network yet
    assert "OAT is 3.0 points less robust" in "\n".join(readme.once_for_all(record_of(half_done)))


def test_time_is_compared_with_six_networks():
    record = {"training_seconds": {"oat": 13.0, "pgd-at": 12.0, "standard": 5.0}, "machine": {"threads": 2},
              "by_seed": {"oat": [12.0, 14.0], "pgd-at": [12.0, 12.0], "standard": [5.0]}}  # fmt: skip
    text = "\n".join(readme.trained_in(record))
    assert "`oat` takes 0.20 of the time of six dedicated networks" in text and "are means of 2 seeds" in text


def test_networks_of_another_length_are_not_added_to_a_record(tmp_path):
    path = tmp_path / "record.json"
    assert once_for_all.runs_before(path, 5) == []
    write_json(path, record_of([{"seed": 0}]))
    assert once_for_all.runs_before(path, 10) == [{"seed": 0}]
    with pytest.raises(SystemExit, match="networks of 10 epochs, and `fast` now has 5: move it away"):
        once_for_all.runs_before(path, 5)


def test_photographs_are_compared_with_the_coin_between_the_ends():
    points = [{"lam": lam, "n": 200, "clean": c, "pgd": r + 0.03, "robust": r, "robust_low": r, "robust_high": r + 0.1}
              for lam, c, r in ((1.0, 0.5, 0.3), (0.0, 0.7, 0.1), (0.5, 0.6, 0.25))]  # fmt: skip
    run = {"system": "oat", "network": "oat", "recipe": "oat", "seed": 0, "train_seconds": 12.0, "points": points,
           "threads": 1, "cpu_seconds": None, "backbone": "tiny", "options": {}, "n_train": 1000, "eot_samples": 1,
           "preset": {"epochs": 3, "lr": 0.1, "steps": 2, "at_last_stop": 0.3}}  # fmt: skip
    record = {"runs": [run], "images": "photos", "attack_text": "an attack"}
    lines = readme.photographs(record)
    rows = [line for line in lines if line.startswith("| OAT")]
    # in the order of λ; at clean 60 %, half way, the coin keeps 20 %
    assert rows == ["| OAT | `oat` | 1 | 0 | 70.0 | 13.0 | 10.0 | 10.0 |",
                    "| OAT | `oat` | 1 | 0.5 | 60.0 | 28.0 | 25.0 | 20.0 |",
                    "| OAT | `oat` | 1 | 1 | 50.0 | 33.0 | 30.0 | 30.0 |"]  # fmt: skip
    assert "at most ±5.0 points" in lines[-1]
    assert "`oat` with `tiny` (1,000 images, 3 epochs, PGD-2, lr 0.1, at_last_stop 0.3; 12 s" in lines[-1]
    # a second network, measured by a stronger suite as well
    strong = {"network": "oat-small", "backbone": "small", "options": {"loss": "sampled"}, "threads": 2,
              "eot_samples": 10, "cpu_seconds": 20.4, "strong_text": "fast suite of 3 attacks",
              "strong": points[:2]}  # fmt: skip
    last = readme.photographs(record | {"runs": [run | strong, run]})[-1]
    assert "`oat-small`: `oat` with `small`" in last and "loss sampled, at_last_stop 0.3; 12 s" in last
    assert "For `oat` gradients are averaged over samples of the noise (EOT). " in last
    assert "EOT" not in lines[-1]
    assert "12 s on 2 threads, 20 s of computing" in last
    assert "reaches the aim of 72 % and 28 % (clean at λ = 0, robust at λ = 1)" in last
    assert " with 0 of 1 seeds: 70.0 and 30.0 %" in last
    assert "On `oat-small` the fast suite leaves 30.0 % at λ = 1 and 10.0 % at λ = 0. " in last


def test_rows_of_photographs_are_means_over_the_seeds_and_each_seed_has_its_own_coin():
    def run(seed, seconds, *dial):
        points = [{"lam": lam, "width": width, "n": 200, "clean": c, "pgd": r, "robust": r, "robust_low": r,
                   "robust_high": r + 0.1} for lam, width, c, r in dial]  # fmt: skip
        return {"system": "oats", "network": "oats", "recipe": "oats", "seed": seed, "train_seconds": seconds,
                "points": points, "threads": 1, "cpu_seconds": None, "backbone": "tiny", "options": {},
                "n_train": 1000, "eot_samples": 1,
                "preset": {"epochs": 3, "lr": 0.1, "steps": 2, "at_last_stop": 0.3}}  # fmt: skip

    narrow = [(0.0, 0.5, 0.5, 0.1), (1.0, 0.5, 0.4, 0.2)]
    one = run(1, 99.0, (0.0, 1.0, 0.8, 0.0), (0.5, 1.0, 0.7, 0.2), (1.0, 1.0, 0.6, 0.4), *narrow)
    other = run(0, 12.0, (0.0, 1.0, 0.6, 0.1), (0.5, 1.0, 0.5, 0.2), (1.0, 1.0, 0.4, 0.2), *narrow)
    lines = readme.photographs({"runs": [one, other], "images": "photos", "attack_text": "an attack"})
    # half way the coins keep 20 and 15 %
    assert [line for line in lines if "`oats` |" in line] == [
        "| OATS | `oats` | 2 | 0 | 70.0 | 5.0 | 5.0 | 5.0 |",
        "| OATS | `oats` | 2 | 0.5 | 60.0 | 20.0 | 20.0 | 17.5 |",
        "| OATS | `oats` | 2 | 1 | 50.0 | 30.0 | 30.0 | 30.0 |",
        "| OATS, width 0.5 | `oats` | 2 | 0 | 50.0 | 10.0 | 10.0 | 10.0 |",
        "| OATS, width 0.5 | `oats` | 2 | 1 | 40.0 | 20.0 | 20.0 | 20.0 |",
    ]
    assert "12 s on 1 thread" in lines[-1] and "99 s" not in lines[-1]
    small = [one | {"network": "oat-small", "strong": one["points"][:1], "strong_text": "fast suite"},
             other | {"network": "oat-small", "strong": other["points"][:1], "strong_text": "fast suite"}]  # fmt: skip
    last = readme.photographs({"runs": small, "images": "photos", "attack_text": "an attack"})[-1]
    assert "the fast suite leaves 5.0 % at λ = 0. " in last
    assert "with 0 of 2 seeds: " in last


def test_the_ends_of_a_dial_are_means_over_the_seeds():
    def blend(seed, *robust):
        points = [{"lam": lam, "n": 100, "clean": 1 - lam / 5, "robust": r, "noise_samples": 1}
                  for lam, r in zip((0.0, 0.2, 0.4, 0.6, 0.8, 1.0), robust, strict=True)]  # fmt: skip
        return {"name": "blend", "seed": seed, "points": points}

    runs = [blend(0, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5), blend(1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.7)]
    lines = readme.ends({"runs": runs, "gains": {}})
    (row,) = [line for line in lines if line.startswith("| `blend`")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:4] == ["2", "100.0 / 0.0", "80.0 / 60.0"] and cells[5].startswith("dial")


@pytest.mark.parametrize("faults, alarms, caught", [(0, "0 raised anything. Of", True), (1, "1 raised", False)])
def test_the_audit_names_false_alarms_and_misses(faults, alarms, caught):
    def row(kind, name, fault):
        return {"kind": kind, "name": name, "seed": 0, "n": 64, "suite": "fast", "lam": 0.2, "width": 1.0,
                "claim": 0.5, "robust": 0.38, "fault": bool(fault),
                "raised": {"claim": "why"} if fault else {}}  # fmt: skip

    rows = [row("honest", "oat", faults), row("honest", "blend", 0), row("fraud", "noise", faults)]
    text = "\n".join(readme.audits({"rows": [*rows, row("exhibit", "old", faults)]}))
    assert f"Of 2 honest settings {alarms}" in text and f"Of 1 planted frauds {faults}" in text
    assert ("is caught by name" in text) == caught
    assert ("`oat`, λ = 0.2, width 1, seed 0: claim" in text) == bool(faults)
    assert ("leaves 12 to 12 points more than the suite" in text) == bool(faults)
    if faults:  # another finding has nothing to do with PGD-20
        rows[0]["raised"]["targeted"] = "why"
        assert "PGD-20" not in "\n".join(readme.audits({"rows": [*rows, row("exhibit", "old", faults)]}))


@pytest.mark.slow
def test_the_bench_of_a_gpu_runs_on_a_cpu(monkeypatch, capsys):
    """The code is exercised. The figures of the reduced form mean nothing."""
    plan = replace(gpu.REDUCED, precisions=("fp32",), trainings=((True, True),), backend="eager", rounds=1)
    kept = []
    found = gpu.run(plan, lambda result: kept.append(len(result["rows"])))
    assert [row["way"] for row in found["rows"]] == ["eager", "compiled"] and kept == [0, 0, 1, 2, 2]
    for row in found["rows"]:
        assert "error" not in row and "problem" not in row
        # of 12 images 2 have λ = 0; both rates come from the same times
        assert row["attack_images_per_s"] == pytest.approx(10 / row["attack_ms"] * 1e3, rel=0.01, abs=0.51)  # rounded
        operations = 2 * 2 * 10 * oatlib.cost(network_of(row), 1.0).macs
        share = operations / row["attack_ms"] * 1e3 / 1e9 / found["peak_gflops"]["fp32"]
        assert row["attack_share_of_peak"] == pytest.approx(share, rel=0.01, abs=6e-5)  # rounded
    (training,) = found["oat"]
    assert (training["precision"], training["compiled"], training["status"]) == ("bf16", "yes", "finished")
    assert not list(gpu.rows(plan, {}, end=0)), "no row is begun after the time"


def network_of(row):
    return oatlib.build("oat", oatlib.load_data("shapes", n_train=16, n_val=16, n_test=16, size=32), row["backbone"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_bench_says_so(capsys):
    assert gpu.main([]) == 2
    assert "bench gpu needs a CUDA GPU, and PyTorch finds none here; --cpu runs" in capsys.readouterr().err
