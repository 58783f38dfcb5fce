"""The terms of the trade in plain words, for the help of the app."""

from __future__ import annotations

TERMS: dict[str, str] = {
    "adapter": "What LoRA trains: small matrices beside the layers of the base model, a few megabytes that change what "
    "it answers. The base model itself stays as it is.",
    "alpha": "How strongly a LoRA adapter counts: its output is scaled by alpha divided by rank. Twice the rank is a "
    "good choice; a higher value learns faster and less steadily.",
    "base model": "The model that you begin with, as its makers published it.",
    "batch size": "Rows that are computed at once. More use the hardware better and take more memory.",
    "bfloat16": "A number format with 16 bits: half the memory of float32 with its range. Fast where the hardware has "
    "it, emulated and slow where not.",
    "chat template": "The marks that a model puts around what user and assistant say. Your rows are written with those "
    "of the model, so that it recognises a conversation.",
    "checkpoint": "The state of a run on disk: adapter, optimiser, random numbers. From there a run goes on as if it "
    "had never been interrupted.",
    "epoch": "One pass over all rows of the training data. Two to five are usual; more, and the model learns the rows "
    "by heart.",
    "evaluation": "Measuring the loss on the held-out rows, before training and several times in between.",
    "fine-tuning": "Training a finished model a little further on your own examples, so that it answers as they do.",
    "full fine-tuning": "Training every weight and not an adapter. For small models or much data; takes 16 bytes of "
    "memory a weight.",
    "GGUF": "A file that holds a whole model, mostly with few bits a weight, for llama.cpp, Ollama and others.",
    "gradient accumulation": "Several batches computed one after the other for one step: as a larger batch, without "
    "its memory.",
    "gradient checkpointing": "Computing parts of a step twice instead of keeping them: less memory, about a third "
    "slower.",
    "gradient norm": "How far a step would move the weights before it is scaled down. It should stay of one size; "
    "sudden peaks mean rows that do not fit or a rate that is too high.",
    "held-out": "Rows that are set aside and never trained on. The loss on them tells what was understood and not "
    "learnt by heart: if it rises while the training loss falls, stop.",
    "learning rate": "How large a step is. Too low learns nothing, too high forgets everything; 2e-4 (0.0002) suits "
    "most adapters, a tenth of it full fine-tuning.",
    "LoRA": "Low-rank adaptation: two narrow matrices are trained beside each layer instead of the layer. A hundredth "
    "of the weights, nearly the same result.",
    "loss": "How surprised the model is by the right answer, on average over its tokens. Lower is better; how low it "
    "can get depends on the data.",
    "max length": "The longest row in tokens. Longer ones are cut or left out; memory grows with it.",
    "NF4": "Four bits a weight, spaced as weights are distributed. With it a model takes a quarter of its memory while "
    "an adapter is trained (QLoRA).",
    "optimiser": "The rule that turns gradients into steps: AdamW, which keeps two numbers for every trained weight.",
    "perplexity": "The loss in another dress (e to its power): between how many tokens the model wavers at each place. "
    "1 would be certainty.",
    "preset": "Settings in a file, to use again: ftk --preset NAME.",
    "prompt": "What the model is asked; the response is what it answers.",
    "QLoRA": "LoRA on a base model that is held in 4 bits (NF4).",
    "quantisation": "Holding weights in fewer bits: less memory, and a little less precise.",
    "rank": "How wide the matrices of a LoRA adapter are. 8 to 32 suits most tasks; more can hold more, takes more "
    "memory, and learns small data by heart sooner.",
    "run": "One training from its beginning to its end, with settings, journal, checkpoints and result in one folder.",
    "seed": "The number from which everything random is drawn. The same seed, settings and rows give the same result.",
    "step": "One update of the weights, computed from a batch (or several: gradient accumulation).",
    "supervised tokens": "The tokens that the loss counts: the answers, not the questions.",
    "temperature": "How freely an answer is drawn: 0 always takes the likeliest token, 1 draws as the model thinks.",
    "token": "What a model reads and writes: a piece of a word, four letters of English on average.",
    "warm-up": "The first steps, in which the learning rate rises from zero, so that nothing is broken at the start.",
}
"""Words and what they mean, without markup; sorted without regard to upper and lower case."""


def matching(words: str) -> dict[str, str]:
    """The terms in whose name or explanation some words occur; those with them in the name first."""
    wanted = words.casefold().split()
    if not wanted:
        return dict(TERMS)
    inside = {term: text for term, text in TERMS.items() if all(word in f"{term} {text}".casefold() for word in wanted)}
    named = {term: text for term, text in inside.items() if all(word in term.casefold() for word in wanted)}
    return named | inside
