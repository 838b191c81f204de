"""Attacks: functions that change images so that a network misclassifies them.

* base: the protocol `Attack`, and what all attacks have in common.
* ascent: the loop of all attacks with a step length.
* pgd: PGD, FGSM, FGSM-RS and N-FGSM.
* aimed: the attack of training, PGD towards one class.
* apgd: APGD, untargeted and targeted, with its own step size.
* square: Square, which needs no gradient.
* transfer: attacks made on another network, or through the ends of a mixture.
* suite: several attacks in a row, worst case per image.
* accuracy: robust accuracy under one attack.
* geometry: start, step and projection.
* losses: what attacks increase.
* queries: logits and gradients of the network under attack.
* freeze: what is put back after an attack.
"""

from .accuracy import robust_accuracy as robust_accuracy
