"""What the paper itself found for each claim, in brief."""

FOUND = {
    "best-is-connected": (
        "The most accurate ResNets lie where training loss is low, replicates are connected, CKA is "
        "high and the Hessian small: phase IV-B."
    ),
    "smoothness-is-not-enough": (
        "Networks with an equally small Hessian differ in accuracy; the connected ones are better."
    ),
    "hessian-transition": (
        "Along batch size, the Hessian changes where the training loss falls by a factor of ten or more."
    ),
    "connectivity-adds": (
        "Among networks that fit their data, mode connectivity still orders accuracy where the "
        "Hessian no longer does."
    ),
    "cka-ranks-accuracy": (
        "Among networks that fit their data, CKA orders accuracy almost perfectly (rank correlation "
        "about .97 in the authors' tables)."
    ),
    "cka-beats-distance": "The distance of the parameters orders accuracy worse than CKA.",
    "width-connects": (
        "In cold training, wide ResNets are well connected, and narrow ones are separated by barriers."
    ),
    "lowest-loss-is-not-best": (
        "Where models are poorly connected, training to zero loss does harm: the best temperature is "
        "not that of the lowest loss."
    ),
    "early-stopping-helps": (
        "Where models are poorly connected, those that stop early beat those trained to the end, most "
        "clearly with wrong labels."
    ),
    "double-descent-in-temperature": (
        "With wrong labels, accuracy dips along temperature near the ridge of the Hessian, and recovers."
    ),
    "double-descent-in-width": (
        "With wrong labels, accuracy dips along width near the ridge of the Hessian, and recovers."
    ),
    "more-data": "With more training data, CKA and accuracy grow.",
    "more-data-more-trace": "With more training data, the trace of the Hessian grows.",
    "label-noise-lowers-similarity": "Wrong labels lower mode connectivity and CKA.",
    "label-noise-spares-hessian": "Wrong labels hardly change the Hessian.",
    "pixel-noise-lowers-cka": "Noisy pixels leave mode connectivity near 0 and lower CKA.",
    "decay-helps-at-the-boundary": "A decaying learning rate gains most where connectivity begins.",
    "small-decay-small-trace": (
        "A tiny weight decay gives a tiny trace of the Hessian, and no better accuracy."
    ),
    "scaled-rate-flattens": (
        "If the learning rate grows with the batch size, batch size hardly acts as a temperature."
    ),
}
