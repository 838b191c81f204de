"""What the page is told about the parts of its images: enough to compose each of them again."""

import base64
import json
from dataclasses import replace

import pytest
import torch

import oatlib
from oatlib.data.scenes import parts_of, scene_of
from oatlib.data.shapes import CONSTANT_TRUST, SHAPES
from oatlib.explorer.description import describe, one_of_each_class
from oatlib.explorer.see_through import NOISE_FACTOR, see_through


def decoded(text, channels):
    """Bytes as the page decodes them, (C, H, W) from 0 to 255."""
    values = torch.tensor(list(base64.b64decode(text)), dtype=torch.float32)
    size = round((len(values) / channels) ** 0.5)
    return values.view(size, size, channels).permute(2, 0, 1)


@pytest.mark.parametrize("world", [{}, CONSTANT_TRUST, {"classes": 3}, {"size": 20}])
def test_the_page_can_compose_the_parts_again(world):
    data = oatlib.load_data("shapes", n_train=8, n_val=40, n_test=8, **world)
    panel = data.val.panel(24)
    watched = one_of_each_class(panel)
    told = describe({"one": oatlib.build("standard", data)}, data, panel, watched)["seeThrough"]
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    scene = scene_of(data, panel.take(watched))
    parts = parts_of(scene)
    assert len(told["tiles"]) == len(data.classes) and told["paired"] is data.options["paired"]
    for i, image in enumerate(told["images"]):
        repeats = data.options["size"] // 4
        texture = torch.tensor(told["tiles"][image["label"]]).view(3, 4, 4).repeat(1, repeats, repeats)
        assert torch.allclose(image["amplitude"] * texture, parts.texture[i])
        drawn = 127.5 + decoded(image["mask"], 1) * torch.tensor(image["contrast"])[:, None, None]
        assert (drawn - 255 * parts.drawn[i]).abs().max() < 0.26, "half of the contrast times half a byte"
        noise = (decoded(image["noise"], 3) - 127.5) / NOISE_FACTOR
        inside = (255 * NOISE_FACTOR * parts.noise[i]).abs() < 127
        assert (noise - 255 * parts.noise[i])[inside].abs().max() < 0.51 / NOISE_FACTOR and inside.float().mean() > 0.98
        assert image["label"] == panel.y[watched[i]] and image["shape"] == SHAPES[panel.facts["shape"][watched[i]]]


def test_images_whose_parts_are_not_known_have_none():
    digits = oatlib.load_data("digits", n_train=20, n_val=10, n_test=10)
    assert see_through(digits, digits.val) is None
    data = oatlib.load_data("shapes", n_train=8, n_val=10, n_test=8)
    assert see_through(data, data.val) is not None
    assert see_through(data, replace(data.val, x=data.val.x.flip(3))) is None
    own = oatlib.from_tensors("shapes", *[(data.val.x, data.val.y)] * 3, classes=data.classes)
    assert see_through(own, own.val) is None
    smooth = oatlib.load_data("shapes", n_train=8, n_val=10, n_test=8, amplitude=0.0)
    assert see_through(smooth, smooth.val) is None
