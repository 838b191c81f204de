"""Networks with dials: one set of weights for every λ and width.

* network: `Network`, its folded forms, `save` and `load`.
* spec: what a network is, as one value.
* backbones: the architectures.
* lambdas: λ stops, and the rules between them.
* mixing: the outputs of two networks as one dial.
* cost: parameters and multiply-adds.
* bfloat16: folded networks under attack in bfloat16.
* compiled: folded networks through `torch.compile`.
* calibrate: BatchNorm statistics for further widths.
* onnx: export to ONNX.
* ready: the trained networks that come with oatlib.
* history: how a network was made, in words.
"""
