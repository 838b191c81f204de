"""The record of lesson 07 keeps every image, and simulated papers have the effect that they say."""

import torch

from oatlib.course import many_seeds, papers


def test_bools_survive_being_text():
    correct = torch.rand(3, 5, 16, generator=torch.Generator().manual_seed(0)) < 0.7
    assert torch.equal(many_seeds.unpacked(many_seeds.packed(correct)).view(3, 5, 16), correct)


def test_a_record_gives_back_runs_subnetworks_and_images():
    shape = (len(many_seeds.QUARTERS), len(many_seeds.LAMS), many_seeds.N)
    images = [torch.rand(shape, generator=torch.Generator().manual_seed(s)) < 0.5 for s in many_seeds.SEEDS]
    runs = [{key: many_seeds.packed(each) for key in ("clean", "robust")} for each in images]
    record = many_seeds.gathered(dict.fromkeys(many_seeds.ARMS, runs))
    every = many_seeds.correct_images(record, "solar", key="clean", broken=True)
    assert torch.equal(every, torch.stack(images).flatten(1, 2))
    kept = many_seeds.correct_images(record, "oats")
    assert kept.shape[1] == len(many_seeds.subnetworks(record)) == 6
    assert torch.equal(kept[2, 0], images[2][1, 1])  # the second width, the first λ above 0
    assert many_seeds.subnetworks(record)[0] == (0.5, 0.2)
    assert torch.equal(many_seeds.points(kept[2, 0]), 100 * images[2][1, 1].float().mean())


def test_papers_differ_by_the_effect_only():
    def tables(effect):
        return papers.paper(torch.Generator().manual_seed(3), effect)

    (ours, base), (better, same) = tables(False), tables(True)
    assert torch.equal(base, same) and ours.shape[0] == papers.SEEDS
    assert papers.FEWEST <= ours.shape[1] <= papers.MOST
    gains = (better - ours)[0]
    assert (gains >= 0).all() and gains.max() > 0
