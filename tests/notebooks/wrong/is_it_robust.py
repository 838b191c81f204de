"""Typical wrong answers to the exercises of lesson 10, and what the learner is told."""

WORST = "def worst_case(f, x, y, attacks):\n    stands = f(x).argmax(1) == y"
FOLD = "def fold_tile(change):\n    n, c, h, w = change.shape\n"
MATCH = """def tile_match(change, tiles):
    folded, known = fold_tile(change).flatten(1), tiles.flatten(1)
"""
FORGE = "def forgery(x, x_adv, y, tiles):\n    cosines = tile_match(x_adv - x, tiles)\n"
PAINT = """def paint(x, y, tiles, eps):
    def whole(tile):
        return tile.repeat(1, 1, x.shape[2] // 4, x.shape[3] // 4)
    others = [tiles[(y + k) % 8] for k in range(1, 8)]
"""

WRONG = {
    "worst_case": [
        (f"{WORST}\n    for attack in attacks:\n        stands = f(attack(f, x, y)).argmax(1) == y\n    return stands",
         "only the last attack"),
        (f"{WORST}\n    for attack in attacks:\n        stands &= f(attack(f, x, y)).argmax(1) == y\n    return stands",
         "only survivors go on"),
        (f"{WORST}\n    for attack in attacks:\n        x = attack(f, x, y)\n        stands &= f(x).argmax(1) == y"
         "\n    return stands", "each begins at x"),
        ("def worst_case(f, x, y, attacks):\n    stands = torch.ones_like(y, dtype=torch.bool)"
         "\n    for attack in attacks[:2]:\n        stands &= f(attack(f, x, y)).argmax(1) == y\n    return stands",
         "never called"),
        (f"{WORST}\n    for attack in attacks:\n        stands &= f(attack(f, x, y)).argmax(1) == y"
         "\n    return stands.float().mean()", "one True or False"),
    ],
    "fold_tile": [
        (f"{FOLD}    return change.view(n, c, 4, h // 4, 4, w // 4).mean((3, 5))", "4 apart"),
        (f"{FOLD}    return change.view(n, c, h // 4, 4, w // 4, 4).sum((2, 4))", "take the mean"),
        (f"{FOLD}    return change[..., :4, :4]", "first cell only"),
        (f"{FOLD}    return change.view(n, c, h // 4, 4, w // 4, 4).mean((2, 4)).transpose(2, 3)", "exchanged"),
        (f"{FOLD}    return change.view(n, c, h // 4, 4, w // 4, 4).mean((0, 2, 4))", "tensor of shape"),
    ],
    "tile_match": [
        (f"{MATCH}    return folded @ known.T", "dot product"),
        (f"{MATCH}    return folded @ (known / known.norm(dim=1, keepdim=True)).T", "length of the tiles only"),
        (f"{MATCH}    return F.cosine_similarity(folded[:, None], known[None], dim=2).abs()", "drops the sign"),
        (f"{MATCH}    return F.cosine_similarity(folded[:, None], known[None], dim=2).T", "one row per image"),
        (f"{MATCH}    return F.cosine_similarity(folded[:, None], 1 - known[None], dim=2)", "cosine of folded"),
    ],
    "forgery": [
        ("def forgery(x, x_adv, y, tiles):\n    cosines = tile_match(x_adv, tiles)\n"
         "    return cosines.scatter(1, y[:, None], -math.inf).amax(1)", "subtract x"),
        (f"{FORGE}    return cosines.amax(1)", "class y itself"),
        (f"{FORGE}    return cosines.scatter(1, y[:, None], 0.0).sum(1) / 7", "take the largest"),
        (f"{FORGE}    return cosines.gather(1, y[:, None])[:, 0]", "what was erased"),
        ("def forgery(x, x_adv, y, tiles):\n    cosines = tile_match(x - x_adv, tiles)\n"
         "    return cosines.scatter(1, y[:, None], -math.inf).amax(1)", "wrong sign"),
        (f"{FORGE}    return cosines.scatter(1, y[:, None], -math.inf).amax(1).mean()", "one number per image"),
    ],
    "paint": [
        (f"{PAINT}    return (x + eps * whole(others[0])).clamp(0, 1)", "torch.stack"),
        # one wrong class only, and half of its pixels only
        (f"{PAINT}    return (x + eps * whole(others[0])).clamp(0, 1)[None]", "1 version.* every wrong class"),
        (f"{PAINT}    return torch.stack([(x + 2 * eps * whole(o)).clamp(0, 1) for o in others])", "moves by 16"),
        (f"{PAINT}    return torch.stack([(x + eps * whole(o)).clamp(0, 1) for o in others * 2])", "14 versions"),
        (f"{PAINT}    signs = torch.randn(7, *x.shape, generator=torch.Generator().manual_seed(0)).sign()\n"
         "    return (x + eps * signs).clamp(0, 1)", "one wrong texture"),
    ],
}  # fmt: skip
