import gzip
import json
import math
import os
import socket
import sys
import urllib.error
import urllib.request
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from oatlib import _memory as memory
from oatlib.data import load
from oatlib.data.load import PUBLISHED, batches, best_points, crop, flip, from_tensors, load_data, render
from oatlib.data.shapes import CONSTANT_TRUST, SHAPES, best_frontier, compose, paint, tiles
from oatlib.data.splits import shuffle

PARTS = ("train", "val", "test")
quick = settings(max_examples=30, deadline=None)
seeds = st.integers(0, 1000)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n, channels, height, width):
    """Every pixel of every image has a value of its own."""
    x = torch.arange(n * channels * height * width, dtype=torch.float32).view(n, channels, height, width)
    return (x + 1) / (x.numel() + 1)


def assert_same(a, b):
    for part in PARTS:
        assert torch.equal(getattr(a, part).x, getattr(b, part).x), part
        assert torch.equal(getattr(a, part).y, getattr(b, part).y), part


def assert_no_image_twice(data):
    x = torch.cat([data.train.x, data.val.x, data.test.x]).flatten(1)
    assert len(x.unique(dim=0)) == len(x)


FIRST_WORLD = (392.0423, 370.8897, 379.931)
sizes = st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))


# ---- augmentation and batches -----------------------------------------------------------------------------------


@quick
@given(sizes, seeds)
def test_flip_twice_with_the_same_draws_is_the_identity(shape, seed):
    x = images(*shape)
    once = flip(x, rng(seed))
    assert torch.equal(flip(once, rng(seed)), x)
    for before, after in zip(x, once, strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(-1))


def test_flip_mirrors_half_of_the_images_each_on_its_own():
    x = images(1000, 1, 1, 2)
    flipped = (flip(x, rng()) != x).flatten(1).any(1)
    assert 420 < flipped.sum() < 580  # five standard deviations
    assert 420 < (flipped[1:] != flipped[:-1]).sum() < 580  # neighbours are independent


@quick
@given(sizes, st.integers(0, 4), seeds)
def test_crop_shows_a_window_of_the_padded_image(shape, pad, seed):
    x = images(*shape)
    out = crop(x, pad, rng(seed))
    assert out.shape == x.shape and out.is_contiguous()
    if pad == 0:
        assert torch.equal(out, x)
    n, _, h, w = shape
    padded = torch.zeros(n, shape[1], h + 2 * pad, w + 2 * pad)
    padded[:, :, pad : pad + h, pad : pad + w] = x
    moves = [(i, j) for i in range(2 * pad + 1) for j in range(2 * pad + 1)]
    for k in range(n):
        assert any(torch.equal(out[k], padded[k, :, i : i + h, j : j + w]) for i, j in moves)


def test_crop_uses_every_shift_about_equally_and_each_image_its_own():
    x = torch.zeros(5000, 1, 5, 5)
    x[:, :, 2, 2] = 1  # the one lit pixel stays in the window
    where = crop(x, 2, rng()).flatten(1).argmax(1).bincount(minlength=25)
    assert where.min() > 140 and where.max() < 270  # expected 200, sd 14
    with pytest.raises(ValueError, match="pad=-1"):
        crop(x, -1, rng())


@quick
@given(st.integers(0, 60), st.integers(1, 20), st.none() | seeds, st.booleans())
def test_batches_cover_every_index_once(n, size, seed, drop_last):
    found = list(batches(n, size, None if seed is None else rng(seed), drop_last))
    flat = torch.cat(found) if found else torch.empty(0, dtype=torch.long)
    assert all(len(batch) == size for batch in found[: None if drop_last else -1])
    assert len(flat) == (n - n % size if drop_last else n)
    assert len(set(flat.tolist())) == len(flat) and set(flat.tolist()) <= set(range(n))
    if seed is None:
        assert flat.tolist() == list(range(len(flat)))
    else:
        again = list(batches(n, size, rng(seed), drop_last))
        assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


def test_batches_are_shuffled_anew_by_a_generator_and_refuse_size_zero():
    generator = rng()
    first, second = (torch.cat(list(batches(100, 32, generator))) for _ in range(2))
    assert not torch.equal(first, second) and not torch.equal(first, torch.arange(100))
    with pytest.raises(ValueError, match="size=0"):
        batches(10, 0)


@quick
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(1, 60), seeds)
def test_panel_is_as_balanced_as_the_split_allows(labels, n, seed):
    y = torch.tensor(labels)
    data = from_tensors("t", *[(images(len(y), 1, 1, 1), y)] * 3, classes="abcd")
    n = min(n, len(y))
    panel, again = data.test.panel(n, seed), data.test.panel(n, seed)
    assert torch.equal(panel.x, again.x) and len(panel) == n and panel.name == "test"
    assert len(panel.x.unique()) == n  # no image twice
    here, there = panel.y.bincount(minlength=4), y.bincount(minlength=4)
    for k in range(4):  # a class may only be rarer than another if it is used up
        assert here[k] == there[k] or here[k] >= here.max() - 1


def test_panel_of_a_lopsided_split():
    y = torch.tensor([0] * 50 + [1] * 5 + [2] * 2)
    test = from_tensors("t", *[(images(57, 1, 1, 1), y)] * 3, classes="abc").test
    assert test.panel(6).y.bincount().tolist() == [2, 2, 2]
    assert test.panel(17).y.bincount().tolist() == [10, 5, 2]


def test_panel_refuses_more_than_there_is():
    val = load_data("shapes", n_train=8, n_val=16, n_test=8).val
    assert not torch.equal(val.panel(8, seed=0).x, val.panel(8, seed=1).x)
    with pytest.raises(ValueError, match="val split has 16 images"):
        val.panel(17)


@quick
@given(st.lists(st.integers(0, 3), min_size=1, max_size=80), seeds)
def test_every_prefix_of_the_stratified_shuffle_has_the_class_shares(labels, seed):
    y = torch.tensor(labels)
    order = shuffle(y, rng(seed))
    assert sorted(order.tolist()) == list(range(len(y)))
    share = y.bincount(minlength=4) / len(y)
    for n in range(1, len(y) + 1):
        assert ((y[order[:n]].bincount(minlength=4) - n * share).abs() < 2).all()


# ---- the built-in world -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene():
    return render(4000, rng(7))


def correlation(a, b):
    return (a * b).mean((-3, -2, -1))


def test_tiles_are_balanced_and_distinct_under_every_shift():
    t = tiles(paired=False)
    assert t.shape == (8, 3, 4, 4) and set(t.unique().tolist()) == {-1.0, 1.0}
    assert (t.mean((2, 3)) == 0).all()
    for dy in range(4):
        for dx in range(4):
            c = correlation(t[:, None], t.roll((dy, dx), (2, 3))[None]).fill_diagonal_(0).abs()
            assert c.max() <= (1 / 12 if dy == dx == 0 else 1 / 4) + 1e-6


def test_paired_tiles_are_one_tile_and_its_negative():
    t, single = tiles(), tiles(paired=False)
    assert torch.equal(t[0::2], single[0::2]) and torch.equal(t[1::2], -single[0::2])
    assert torch.equal(tiles(paired=False), single)  # nothing was written over


def test_x_is_what_the_parts_say(scene):
    by_hand = 0.5 + scene.mask[:, None] * scene.contrast[..., None, None] + scene.texture + scene.noise
    assert torch.allclose(scene.x, by_hand.clamp(0, 1), atol=1e-6)
    assert torch.equal(scene.x, compose(scene.mask, scene.contrast, scene.texture, scene.noise))
    assert torch.equal(scene.mask, paint(scene.shape, scene.cx, scene.cy, scene.radius, 16))
    assert 0.049 < scene.noise.std() < 0.051


def test_the_shape_belongs_to_the_label_as_often_as_its_vividness_promises(scene):
    by_hand = (0.3 + 0.7 * scene.vividness / 0.5).clamp(max=1)
    assert torch.allclose(scene.trust, by_hand)
    agree = scene.shape == scene.y
    for low, high in ((0.0, 0.2), (0.2, 0.35), (0.35, 0.5)):
        group = (scene.vividness >= low) & (scene.vividness < high)
        expected, n = scene.trust[group].mean().item(), group.sum().item()
        assert abs(agree[group].float().mean().item() - expected) < 4 * math.sqrt(expected * (1 - expected) / n)
    assert agree[scene.vividness >= 0.5].all()
    assert scene.y.bincount().tolist() == [500] * 8
    wrong = ~agree
    offset = ((scene.shape - scene.y) % 8)[wrong].bincount(minlength=8)[1:]  # uniform over the seven others
    assert ((offset - wrong.sum() / 7).abs() < 4 * math.sqrt(wrong.sum() / 7)).all()


def test_vividness_is_the_contrast_that_one_sees(scene):
    peak = 0.16 + (0.5 - 0.16) * scene.vividness
    ratio = scene.contrast.abs() / peak[:, None]
    assert ratio.min() >= 0.7 - 1e-6 and ratio.max() <= 1 + 1e-6
    assert 0.84 < ratio.mean() < 0.86 and 0.45 < (scene.contrast > 0).float().mean() < 0.55
    assert abs(scene.vividness.mean() - 0.5) < 0.02


def test_constant_trust_is_an_option_and_gives_the_first_world():
    for trust, expected in ((0.0, 0), (1.0, 50)):
        s = render(50, rng(), trust=trust, full_trust=None, classes=3)
        assert (s.shape == s.y).sum() == expected and s.shape.max() <= 2
        assert (s.trust == trust).all()
    s = render(4000, rng(), **CONSTANT_TRUST)
    assert abs((s.shape == s.y).float().mean().item() - 0.85) < 4 * math.sqrt(0.85 * 0.15 / 4000)
    assert 0.1 - 1e-6 <= s.contrast.abs().min() < 0.11 and 0.49 < s.contrast.abs().max() <= 0.5 + 1e-6
    # pixel sums of the first three images of this seed, as version 0.1.0 rendered them
    assert torch.allclose(s.x[:3].double().sum((1, 2, 3)), torch.tensor(FIRST_WORLD).double(), atol=1e-3)


@quick
@given(
    trust=st.floats(0.05, 0.95),
    full_trust=st.none() | st.floats(0.1, 1),
    lam=st.floats(0.02, 1),
    seed=st.integers(0, 9),
)
def test_no_rule_on_rendered_truth_beats_the_best_frontier(trust, full_trust, lam, seed):
    """Brute force: in every bin of vividness, whichever of both cues is better under (1 - λ) clean + λ robust."""
    n = 6000
    s = render(n, rng(seed), size=8, trust=trust, full_trust=full_trust)
    honest = (s.shape == s.y).double()
    (point,) = best_frontier([lam], trust=trust, full_trust=full_trust)
    assert point.lam == lam
    # The score of the closed form, against the best score that any choice of cue per bin reaches
    score = (1 - lam) * point.clean + lam * point.robust
    bins = (s.vividness * 40).long().clamp(max=39)
    found = 0.0
    for k in range(40):
        inside = honest[bins == k]
        follow_shape = inside.sum().item()  # right as it is and attacked
        follow_texture = (1 - lam) * len(inside)  # always right as it is, never when attacked
        found += max(follow_shape, follow_texture) / n
    # choosing per bin after seeing it overfits a little; sampling error of a mean of n images
    assert abs(found - score) < 4 * 0.5 / math.sqrt(n) + 0.012


def test_the_best_frontier_follows_shapes_that_are_right_more_often_than_one_minus_lambda():
    s = render(40_000, rng(3), size=8)
    honest = (s.shape == s.y).double()
    for lam in (0.1, 0.2, 0.3, 0.4, 0.5, 1.0):
        follow = s.trust > 1 - lam
        clean = torch.where(follow, honest, torch.ones_like(honest)).mean().item()
        robust = (honest * follow).mean().item()
        (point,) = best_frontier([lam])
        assert abs(point.clean - clean) < 0.008 and abs(point.robust - robust) < 0.008
    points = best_frontier([i / 20 for i in range(21)])
    assert all(a.clean >= b.clean - 1e-12 and a.robust <= b.robust + 1e-12 for a, b in pairwise(points))
    assert points[0] == (0.0, 1.0, 0.0) and points[-1].clean == points[-1].robust == pytest.approx(0.825)
    # with the same trust everywhere there is nothing between the two ends
    constant = {p[1:] for p in best_frontier([i / 20 for i in range(21)], trust=0.85, full_trust=None)}
    assert constant == {(1.0, 0.0), (0.85, 0.85)}
    with pytest.raises(ValueError, match="λ must lie in"):
        best_frontier([1.2])


def test_facts_stay_with_their_images():
    data = load_data("shapes", n_train=16, n_val=64, n_test=16)
    assert set(data.val.facts) == {"shape", "vividness", "trust"}
    scene = render(64, torch.Generator().manual_seed(1))  # data_generator(0, 1)
    assert torch.equal(data.val.x, scene.x) and torch.equal(data.val.facts["shape"], scene.shape)
    panel = data.val.panel(8, seed=2)
    for i in range(8):
        (at,) = (data.val.x == panel.x[i]).flatten(1).all(1).nonzero()[0].tolist()
        assert panel.facts["shape"][i] == data.val.facts["shape"][at]
        assert panel.facts["vividness"][i] == data.val.facts["vividness"][at]
    assert data.val.to("meta").facts["trust"].device.type == "meta"
    x, y = images(4, 1, 2, 2), torch.arange(4) % 2
    with pytest.raises(ValueError, match="'shape' must have one value per image, 4 in all, found 3"):
        from_tensors("t", *[(x, y)] * 3, classes="ab", facts={"val": {"shape": torch.zeros(3)}})


def test_texture_always_agrees_and_is_within_its_bounds(scene):
    weakest, strongest = 0.4 * 4 / 255, 1.6 * 4 / 255
    assert scene.texture.mean((2, 3)).abs().max() < 1e-7
    assert (scene.texture.abs().flatten(1) - scene.amplitude[:, None]).abs().max() < 1e-7
    assert weakest <= scene.amplitude.min() < 1.05 * weakest
    assert 0.98 * strongest < scene.amplitude.max() <= strongest
    assert strongest < 8 / 255  # the usual attack can repaint it, though not the palest shape:
    assert scene.contrast.abs().min() >= 0.7 * 0.16 - 1e-6 > 3 * 8 / 255
    tile = tiles().repeat(1, 1, 4, 4)
    assert torch.equal(correlation(scene.texture[:, None], tile[None]).argmax(1), scene.y)


def test_a_linear_classifier_reads_the_label_off_the_texture_but_not_off_the_shape():
    train, test = render(4000, rng(0)), render(1000, rng(1))

    def accuracy(pixels):
        a, b = pixels(train).flatten(1), pixels(test).flatten(1)
        target = torch.eye(8)[train.y] - 1 / 8
        weight = torch.linalg.solve(a.T @ a + 30 * torch.eye(a.shape[1]), a.T @ target)
        return ((b @ weight).argmax(1) == test.y).float().mean().item()

    assert accuracy(lambda s: s.x - 0.5) > 0.5
    assert accuracy(lambda s: s.x - 0.5 - s.texture) < 0.25


@pytest.mark.parametrize("size", [16, 32])
def test_every_shape_is_told_apart_by_its_template(size):
    s = render(800, rng(3), size=size)
    templates = torch.stack([paint(torch.full_like(s.y, k), s.cx, s.cy, s.radius, size) for k in range(8)], 1)
    flat = templates.flatten(2)
    seen = (s.x - 0.5).flatten(2)  # least squares: how much of the image each template explains, over the channels
    explained = (torch.einsum("nkp,ncp->nkc", flat, seen) ** 2 / (flat**2).sum(2, keepdim=True)).sum(2)
    assert (explained.argmax(1) == s.shape).float().mean() > 0.99
    overlap = torch.einsum("nkp,njp->nkj", flat, flat) / flat.norm(dim=2)[:, :, None] / flat.norm(dim=2)[:, None]
    assert (overlap.mean(0) - torch.eye(8)).max() < 0.95  # no two shapes are nearly the same picture


def test_shapes_lie_wholly_inside(scene):
    assert (scene.cx - scene.radius).min() >= -1e-5 and (scene.cy + scene.radius).max() <= 16 + 1e-5
    big = paint(scene.shape, scene.cx + 8, scene.cy + 8, scene.radius, 32)  # the same shapes with room around them
    assert torch.allclose(big.sum((1, 2)), scene.mask.sum((1, 2)), atol=2.5)  # only soft edges are cut off


def test_shapes_reload_from_their_options_and_the_seed_decides():
    a = load_data("shapes", seed=3, n_train=64, n_val=16, n_test=32, size=8, classes=5, trust=0.5)
    options = json.loads(json.dumps(a.options))
    assert_same(a, load_data(a.name, **options))
    assert a.shape == (3, 8, 8) and a.classes == SHAPES[:5] and a.train.x.dtype == torch.float32
    assert a.train.x.min() >= 0 and a.train.x.max() <= 1
    assert not torch.equal(a.test.x, load_data(a.name, **options | {"seed": 4}).test.x)
    assert torch.equal(a.test.x, load_data(a.name, **options | {"n_train": 8, "n_val": 4}).test.x)
    assert_no_image_twice(load_data("shapes", n_train=32, n_val=32, n_test=32))
    nearby = [load_data("shapes", seed=seed, n_train=8, n_val=8, n_test=8) for seed in range(4)]
    assert len(torch.cat([s.x for d in nearby for s in (d.train, d.val, d.test)]).flatten(1).unique(dim=0)) == 96
    assert torch.equal(a.augment(a.train.x, rng()), a.train.x)  # its textures would not survive


def test_shapes_defaults_and_devices():
    data = load_data("shapes", device="meta")
    assert data.options == {"seed": 0, "n_train": 8192, "n_val": 512, "n_test": 2048} | {
        "size": 16, "classes": 8, "trust": 0.3, "full_trust": 0.5, "palest": 0.16, "strongest": 0.5, "channel": 0.7,
        "smallest": 0.28, "largest": 0.42, "paired": True, "amplitude": 4 / 255, "noise": 0.05,
    }  # fmt: skip
    assert [len(data.train), len(data.val), len(data.test)] == [8192, 512, 2048]
    assert data.test.x.device.type == "meta" and data.to("meta").train.y.device.type == "meta"
    assert repr(data) == "Data(shapes: 8192 train, 512 val, 2048 test; 3x16x16; 8 classes)"
    assert repr(data.val) == "Split(val: 512 images 3x16x16 on meta)"


bad_worlds = {
    "size": [4, 18, 16.0], "classes": [1, 9], "trust": [1.5, -0.1, None], "full_trust": [0, 1.2], "palest": [-0.1, 0.6],
    "strongest": [0.1, 0.7], "channel": [2], "smallest": [0, 0.6], "largest": [0.1, 0.7], "amplitude": [4, -0.1],
    "noise": [-1, math.inf], "n_val": [0], "paired": [1, None],
}  # fmt: skip


@pytest.mark.parametrize("key, value", [(key, value) for key, values in bad_worlds.items() for value in values])
def test_impossible_worlds_are_refused(key, value):
    with pytest.raises(ValueError, match=f"{key}={value}"):
        load_data("shapes", **{key: value})


# ---- names and options ------------------------------------------------------------------------------------------


def test_misspelt_names_and_options_are_explained():
    with pytest.raises(ValueError, match=r"did you mean 'cifar10'.*stl10, folder:PATH"):
        load_data("CIFAR-10")
    with pytest.raises(ValueError, match="Choose one of: shapes"):
        load_data("?")
    with pytest.raises(TypeError, match=r"no option 'n_trian' \(did you mean 'n_train'\?\).*amplitude"):
        load_data("shapes", n_trian=3)
    with pytest.raises(TypeError, match="no option 'amplitude'.*n_train, n_val, n_test"):
        load_data("digits", amplitude=0.1)
    with pytest.raises(TypeError, match="plain number"):
        load_data("shapes", trust="0.5")
    for seed in (-1, 0.5, 2**30):
        with pytest.raises(ValueError, match="seed="):
            load_data("shapes", seed=seed)


# ---- digits -----------------------------------------------------------------------------------------------------


def test_digits():
    pytest.importorskip("sklearn")
    data = load_data("digits")
    assert [len(data.train), len(data.val), len(data.test)] == [1097, 200, 500] and data.shape == (1, 8, 8)
    assert data.train.x.max() == 1 and data.classes == tuple("0123456789")
    assert (data.val.y.bincount() - 20).abs().max() <= 1 and (data.test.y.bincount() - 50).abs().max() <= 3
    assert_no_image_twice(data)
    less = load_data("digits", n_train=100)
    assert torch.equal(less.train.x, data.train.x[:100]) and torch.equal(less.test.x, data.test.x)
    assert_same(less, load_data("digits", **less.options))
    assert not torch.equal(data.test.x, load_data("digits", seed=1).test.x)
    with pytest.raises(ValueError, match="n_test=500, n_val=200, n_train=1200 is more than the 1797"):
        load_data("digits", n_train=1200)
    with pytest.raises(ValueError, match="n_train=the rest is more"):
        load_data("digits", n_test=1500, n_val=297)


# ---- torchvision ------------------------------------------------------------------------------------------------

N_TRAIN, N_TEST = 6000, 300


def fake(name, where):
    """A stand-in with the attributes and layouts of the torchvision class, six times too small."""
    by_split = name in ("svhn", "stl10")

    def build(root, download, **part):
        assert root == str(where) and download
        assert part in ([{"split": "train"}, {"split": "test"}] if by_split else [{"train": True}, {"train": False}])
        n = N_TRAIN if part.get("train", part.get("split") == "train") else N_TEST
        y, pixel = np.arange(n) % 10, np.arange(n) % 251
        if name == "fashion-mnist":
            x = torch.as_tensor(pixel).byte()[:, None, None].repeat(1, 6, 5)
            return SimpleNamespace(data=x, targets=torch.as_tensor(y), classes=list("abcdefghij"))
        x = np.broadcast_to(pixel[:, None, None, None], (n, 3, 6, 5)).astype(np.uint8).copy()
        x[:, 1], x[:, 2] = 251, y[:, None, None]  # channels differ, so that a wrong layout shows
        if by_split:
            return SimpleNamespace(data=x, labels=y, **({"classes": list("abcdefghij")} if name == "stl10" else {}))
        return SimpleNamespace(data=x.transpose(0, 2, 3, 1), targets=y.tolist(), classes=list("abcdefghij"))

    return build


@pytest.mark.parametrize("name", PUBLISHED)
def test_torchvision_sets(name, monkeypatch, tmp_path):
    monkeypatch.setattr(f"torchvision.datasets.{PUBLISHED[name].cls}", fake(name, tmp_path))
    data = load_data(name, root=tmp_path)
    n_val = 500 if name == "stl10" else 5000
    assert [len(data.train), len(data.val), len(data.test)] == [N_TRAIN - n_val, n_val, N_TEST]
    assert data.shape == ((1 if name == "fashion-mnist" else 3), 6, 5) and data.train.x.is_contiguous()
    assert data.classes == tuple("0123456789" if name == "svhn" else "abcdefghij")
    assert data.val.y.bincount().tolist() == [n_val // 10] * 10
    if data.shape[0] == 3:
        assert (data.train.x[:, 1] * 255 == 251).all()
        assert torch.equal((data.train.x[:, 2, 0, 0] * 255).round().long(), data.train.y)
    less = load_data(name, root=tmp_path, n_train=50, n_val=20, n_test=30)
    assert torch.equal(less.val.x, data.val.x[:20]) and torch.equal(less.test.x, data.test.x[:30])
    assert_same(less, load_data(less.name, **json.loads(json.dumps(less.options))))
    changed = not torch.equal(data.augment(data.test.x, rng()), data.test.x)
    assert changed == (name != "svhn")
    with pytest.raises(ValueError, match=f"{name} test set: n_test=301 is more than the 300"):
        load_data(name, root=tmp_path, n_test=301)


def test_a_failed_download_says_what_to_do(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"half a file")  # its checksum is wrong, so torchvision downloads again
    with pytest.raises(RuntimeError, match=r"could not load CIFAR10(?s:.*)no route to host") as caught:
        load_data("cifar10", root=tmp_path)
    assert str(tmp_path) in str(caught.value) and "copy the files there" in str(caught.value)


def test_a_corrupt_file_says_what_to_do(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for kind in ("train", "t10k"):
        for what in ("images-idx3", "labels-idx1"):
            (raw / f"{kind}-{what}-ubyte").write_bytes(gzip.compress(b"not unpacked"))
    with pytest.raises(RuntimeError, match=r"could not load FashionMNIST(?s:.*)corrupt(?s:.*)delete it"):
        load_data("fashion-mnist", root=tmp_path)


# ---- folders ----------------------------------------------------------------------------------------------------


def paint_folder(folder, n, colour, size=(12, 8), start=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + n):
        Image.new("RGB", size, (colour, i, 0)).save(folder / f"{i:03}.png")


@pytest.fixture
def flat(tmp_path):
    for k, name in enumerate(("ant", "bee")):
        paint_folder(tmp_path / name, 20, 50 * k)
    return tmp_path


def test_a_folder_of_classes(flat):
    (flat / "ant" / "notes.txt").write_text("not an image")
    (flat / ".hidden").mkdir()
    data = load_data(f"folder:{flat}", size=8)
    assert [len(data.train), len(data.val), len(data.test)] == [28, 4, 8]
    assert data.classes == ("ant", "bee") and data.shape == (3, 8, 8) and data.crop == 1 and data.flip
    both = torch.cat([data.train.x, data.val.x, data.test.x]), torch.cat([data.train.y, data.val.y, data.test.y])
    assert torch.equal((both[0][:, 0, 0, 0] * 255).round(), 50.0 * both[1])  # the colour tells the class
    assert len(both[0].flatten(1).unique(dim=0)) == 40 and data.test.y.bincount().tolist() == [4, 4]
    assert_same(data, load_data(data.name, **json.loads(json.dumps(data.options))))
    assert torch.equal(data.val.x, load_data(data.name, size=8, n_train=4).val.x)
    with pytest.raises(ValueError, match="n_train=29 is more than the 40"):
        load_data(data.name, n_train=29)


def test_a_folder_with_published_splits(tmp_path):
    for k, name in enumerate(("ant", "bee")):
        paint_folder(tmp_path / "train" / name, 20, 50 * k)
        paint_folder(tmp_path / "test" / name, 5, 50 * k, start=100)
    data = load_data(f"folder:{tmp_path}", size=4)
    assert [len(data.train), len(data.val), len(data.test)] == [36, 4, 10]
    assert (data.test.x[:, 1] * 255 >= 99).all() and (data.train.x[:, 1] * 255 < 99).all()
    for k, name in enumerate(("ant", "bee")):
        paint_folder(tmp_path / "val" / name, 3, 50 * k, start=200)
    data = load_data(f"folder:{tmp_path}", size=4, n_test=6)
    assert [len(data.train), len(data.val), len(data.test)] == [40, 6, 6]
    assert (data.val.x[:, 1] * 255 >= 199).all() and data.test.y.bincount().tolist() == [3, 3]


def test_images_are_shrunk_whole_and_cut_in_the_centre(tmp_path):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = (255, 128, 0)  # the middle third
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.fromarray(wide).convert("RGBA" if i else "RGB").save(tmp_path / name / f"{i}.PNG")
    x = load_data(f"folder:{tmp_path}", size=8).train.x  # no resize, so bit for bit
    assert torch.equal(x, torch.tensor([1, 128 / 255, 0])[:, None, None].expand(len(x), 3, 8, 8))
    Image.new("L", (9, 40), 255).save(tmp_path / "a" / "0.png")
    assert load_data(f"folder:{tmp_path}", size=4).shape == (3, 4, 4)


def breakage(folder, kind):
    """Break a good folder in one way; returns the path to load."""
    if kind == "missing":
        return folder / "nowhere"
    if kind == "file":
        return folder / "ant" / "000.png"
    if kind == "empty":
        (folder / "new").mkdir()
        return folder / "new"
    if kind == "no classes":
        return folder / "ant"
    if kind == "one class":
        (folder / "bee").rename(folder / ".bee")
    if kind == "empty class":
        (folder / "cat").mkdir()
        (folder / "cat" / "readme.txt").write_text("no image")
    if kind == "corrupt":
        whole = (folder / "bee" / "007.png").read_bytes()
        (folder / "bee" / "007.png").write_bytes(whole[: len(whole) // 2])
    if kind == "16 bit":
        Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(folder / "bee" / "007.png")
    if kind == "other classes":
        paint_folder(folder / "set" / "train" / "ant", 3, 0)
        paint_folder(folder / "set" / "train" / "bee", 3, 0)
        paint_folder(folder / "set" / "test" / "ant", 3, 0)
        paint_folder(folder / "set" / "test" / "wasp", 3, 0)
        return folder / "set"
    if kind == "no test":
        paint_folder(folder / "set" / "train" / "ant", 3, 0)
        return folder / "set"
    if kind == "few":
        paint_folder(folder / "set" / "ant", 2, 0)
        paint_folder(folder / "set" / "bee", 2, 0)
        return folder / "set"
    return folder


broken = {
    "missing": "nowhere does not exist.*Expected PATH/<class>",
    "file": "000.png is a file.*Expected PATH/<class>",
    "empty": "at least two class folders, found class folders \\[\\]",
    "no classes": "found class folders \\[\\], other entries \\['000.png', .*\\.\\.\\.",
    "one class": "found class folders \\['ant'\\]",
    "empty class": "no images in class folder \\['cat'\\].*\\.jpg",
    "corrupt": "cannot read the image .*bee.007.png",
    "16 bit": "bee.007.png: it has more than 8 bits",
    "other classes": "train and test must have the same classes, but only one of them has \\['bee', 'wasp'\\]",
    "no test": "has a train folder but no test folder, found \\['train'\\]",
    "few": "n_test=2, n_val=2, n_train=the rest is more than the 4 images",
}


@pytest.mark.parametrize("kind", broken)
def test_broken_folders_are_explained(flat, kind):
    with pytest.raises(ValueError, match=broken[kind]):
        load_data(f"folder:{breakage(flat, kind)}", size=8)


# What an entry of a class folder may be instead of a file; each takes the path and makes it.
NO_FILES = {
    "a folder": lambda path: path.mkdir(),
    "a named pipe": lambda path: os.mkfifo(path),
    "a socket": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
    "a device": lambda path: path.symlink_to(os.devnull),
    "a link to a file that does not exist": lambda path: path.symlink_to("nowhere.png"),
    "a link to a file that does not exist ": lambda path: path.symlink_to(path.name),  # a loop
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_entries_that_are_no_files_are_refused_by_name_and_never_opened(flat, kind, monkeypatch):
    monkeypatch.chdir(flat / "bee")  # names of sockets are short
    try:
        NO_FILES[kind](Path("z.png"))
    except (AttributeError, OSError):
        pytest.skip(f"this system cannot make {kind}")
    with pytest.raises(ValueError, match=f"bee.z.png is {kind.strip()}, expected an image file: move or rename it$"):
        load_data(f"folder:{flat}", size=8)


def test_a_link_to_an_image_is_an_image(flat):
    (flat / "bee" / "z.png").symlink_to(flat / "bee" / "000.png")
    assert len(load_data(f"folder:{flat}", size=8).train) == 29


def test_a_folder_that_cannot_be_read(flat, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match="^cannot read the folder .*: Permission denied$"):
        load_data(f"folder:{flat}", size=8)


def header_of_an_image(path, width, height):
    """Write an image file that ends before its pixels: whoever decodes it gets another error."""
    path.write_bytes(b"P6 %d %d 255\n" % (width, height))


@pytest.mark.parametrize(
    "size, words",
    [
        ((8000, 7000), "it has 8000 x 7000 pixels, more than 50,000,000: shrink it first$"),
        ((13000, 13000), "it has 13000 x 13000 pixels, more than 50,000,000: shrink it first$"),
        ((50000, 50000), "it has hundreds of millions of pixels, more than 50,000,000: shrink it first$"),
    ],
)
def test_huge_images_are_refused_before_they_are_decoded(flat, size, words, recwarn):
    limit = Image.MAX_IMAGE_PIXELS
    header_of_an_image(flat / "bee" / "007.png", *size)
    with pytest.raises(ValueError, match=f"^cannot use the image .*bee.007.png: {words}"):
        load_data(f"folder:{flat}", size=8)
    assert limit == Image.MAX_IMAGE_PIXELS, "the limit of PIL belongs to the user"
    assert not recwarn.list


def test_errors_of_images_are_without_python(flat):
    (flat / "bee" / "007.png").write_text("no image")
    with pytest.raises(ValueError, match="^cannot read the image .*007.png: it is damaged, or none of BMP, .*WEBP$"):
        load_data(f"folder:{flat}", size=8)


# ---- memory -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, words",
    [
        (
            {"n_train": 99999999},
            r"^shapes: 100,002,559 images of 3x16x16 \(n_train=99999999, n_val=512, n_test=2048\) need about "
            r"1,382 GB of memory, and 64 GB are available: ask for fewer or smaller images$",
        ),
        ({"n_val": 99999999}, "n_val=99999999.*1,383 GB"),
        ({"n_test": 10**30}, "n_test=1000000000000000000000000000000.*GB"),
        ({"size": 40000, "n_train": 8, "n_val": 8, "n_test": 8}, "24 images of 3x40000x40000 .*2,074 GB"),
    ],
)
def test_data_that_do_not_fit_into_memory_are_refused_at_once(options, words, monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 64e9)
    with pytest.raises(ValueError, match=words):
        load_data("shapes", **options)


def test_a_folder_that_does_not_fit_into_memory_is_refused_before_images_are_read(flat, monkeypatch):
    monkeypatch.setattr(load, "load_pixels", lambda *_, **__: pytest.fail("images were read"))
    with pytest.raises(
        ValueError, match=r"40 images of 3x100000x100000 \(n_test=8, n_val=4, n_train=28\) need about 11,"
    ):
        load_data(f"folder:{flat}", size=100_000)


def test_memory_is_known_here_and_a_container_may_have_less(tmp_path, monkeypatch):
    whole = memory.available_memory()
    assert 1e8 < whole < 1e15
    (tmp_path / "max").write_text("max\n")
    (tmp_path / "limit").write_text("1000000\n")
    monkeypatch.setattr(memory, "CONTAINER_LIMITS", (tmp_path / "max", tmp_path / "nowhere"))
    assert memory.available_memory() > 1e8
    if sys.platform != "win32":
        monkeypatch.setattr(memory, "CONTAINER_LIMITS", (tmp_path / "max", tmp_path / "limit"))
        assert memory.available_memory() == 1e6
    # without the files of Linux: the memory of the machine, or no limit at all
    monkeypatch.setattr(memory, "_text", lambda path: "")
    assert memory.available_memory() > 1e8
    monkeypatch.delattr(memory.os, "sysconf", raising=False)
    assert memory.available_memory() > 1e8


# ---- tensors of the user's own ----------------------------------------------------------------------------------

X, Y = torch.rand(6, 1, 4, 4), torch.arange(6) % 3


def test_tensors_are_taken_as_they_are_with_dust_removed():
    x = X.double().numpy()
    x[0, 0, 0, :2] = -2.98e-08, 1 + 1e-7
    data = from_tensors("mine", (X, Y.int()), (x, Y.numpy()), (X.half(), Y), classes=["a", "b", "c"], flip=True, crop=1)
    assert torch.equal(data.train.x, X) and data.train.y.dtype == torch.int64 and data.options == {}
    assert data.val.x.dtype == data.test.x.dtype == torch.float32
    assert data.val.x.min() == 0 or data.val.x[0, 0, 0, 0] == 0
    assert data.val.x.max() <= 1 and data.augment(X, rng()).shape == X.shape and data.shape == (1, 4, 4)


nan = X.clone()
nan[3, 0, 2, 2] = float("nan")
bad_pairs = {
    "4-dimensional.*found shape \\(6, 4, 4\\)": (X[:, 0], Y),
    "floating point in \\[0,1\\], found torch.uint8": ((X * 255).byte(), Y),
    "must be in \\[0,1\\], found .* to 2": (X * 0 + 2, Y),
    "must be in \\[0,1\\], found -1": (X - 1 - X.min(), Y),
    "must be in \\[0,1\\], found nan": (nan, Y),
    "one label per image, 6 in all, found shape \\(5,\\)": (X, Y[:5]),
    "one label per image, 6 in all, found shape \\(6, 3\\)": (X, torch.eye(3)[Y]),
    "labels must be from 0 to 2, found 1 to 3": (X, Y + 1),
    "labels must be from 0 to 2, found -1 to 1": (X, Y - 1),
    "whole numbers, found torch.float32": (X, Y.float()),
    "no images": (X[:0], Y[:0]),
}


@pytest.mark.parametrize("message", bad_pairs)
def test_bad_tensors_are_explained(message):
    with pytest.raises(ValueError, match=f"mine, val: .*{message}"):
        from_tensors("mine", train=(X, Y), val=bad_pairs[message], test=(X, Y), classes="abc")


def test_bad_classes_and_unequal_shapes_are_explained():
    for classes in (["only"], [], ["a", "b", "a"]):
        with pytest.raises(ValueError, match="at least two different names"):
            from_tensors("mine", (X, Y * 0), (X, Y * 0), (X, Y * 0), classes=classes)
    with pytest.raises(ValueError, match=r"one shape.*'test': \(1, 4, 3\)"):
        from_tensors("mine", (X, Y), (X, Y), (X[..., :3], Y), classes="abc")


def test_best_points_are_known_of_the_built_in_world_alone():
    data = load_data("shapes", n_train=8, n_val=8, n_test=8, trust=0.5, full_trust=1.0)
    points = best_points({"name": data.name, "options": data.options}, 8 / 255)
    # trust is uniform on [1/2, 1]: clean = 1 - λ², robust = 1 - (1 - λ)² up to λ = 1/2
    for lam in (0.1, 0.25, 0.5):
        clean, robust = points[round(100 * lam)]
        assert clean == pytest.approx(1 - lam**2, abs=1e-9) and robust == pytest.approx(1 - (1 - lam) ** 2, abs=1e-9)
    assert best_points({"name": data.name, "options": data.options}, 4 / 255) is None  # cannot repaint every texture
    assert best_points({"name": "digits", "options": {}}, 8 / 255) is None
    assert best_points({"name": "shapes", "options": {"p": 0.85}}, 8 / 255) is None  # a file of before
    assert best_points({}, 8 / 255) is None
