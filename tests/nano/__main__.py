"""`python -m tests.nano STEP`: the steps that make nano, in the order of README.md."""

import argparse
from importlib import import_module
from pathlib import Path

# step: module, function, minutes and batch on one H200 (None: the step takes none)
_TRAINED = {
    "speech-tokenizer": ("speech_tokenizer", 3.0, 128),
    "speaker-encoder": ("speaker_encoder", 1.0, 256),
    "vocoder": ("vocoder", 8.5, 64),
    "flow": ("flow", 7.8, 64),
    "thinker": ("thinker", 8.0, 256),
}
_SLICED = ("vocoder", "flow")  # whose training may go on where an earlier run stopped


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(prog="python -m tests.nano", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)

    corpus = steps.add_parser("corpus", help="sentences and how they sound")
    corpus.add_argument("corpus", type=Path)
    corpus.add_argument("--sentences", type=int, default=20_000)
    corpus.add_argument("--processes", type=int, default=16)
    corpus.add_argument("--seed", type=int, default=0)

    natural = steps.add_parser("natural-corpus", help="a corpus out of shards of natural speech")
    natural.add_argument("shards", type=Path)
    natural.add_argument("corpus", type=Path)

    for name, (_, minutes, batch) in _TRAINED.items():
        step = steps.add_parser(name, help="train this part")
        step.add_argument("corpus", type=Path)
        step.add_argument("out", type=Path)
        step.add_argument("--minutes", type=float, default=minutes)
        step.add_argument("--batch", type=int, default=batch)
        if name in _SLICED:
            step.add_argument("--span", type=float, nargs=2, default=(0.0, 1.0))

    for name, text in (("codes", "of all speech"), ("embeddings", "of all speakers")):
        step = steps.add_parser(name, help=text)
        step.add_argument("corpus", type=Path)
        step.add_argument("out", type=Path)
        step.add_argument("--batch", type=int, default=256)

    assemble = steps.add_parser("assemble", help="write the checkpoint out of what was trained")
    assemble.add_argument("out", type=Path)
    assemble.add_argument("checkpoint", type=Path)

    plots = steps.add_parser("plots", help="draw the losses of what was trained")
    plots.add_argument("out", type=Path)
    plots.add_argument("folder", type=Path)

    evaluate = steps.add_parser("evaluate", help="serve a configuration and measure what it says")
    evaluate.add_argument("config", type=Path)
    evaluate.add_argument("report", type=Path)

    _run(parser.parse_args())


def _run(args: argparse.Namespace) -> None:
    def part(name: str, function: str = "main"):  # type: ignore[no-untyped-def]  # one of several
        return getattr(import_module(f"tests.nano.{name}"), function)

    if args.step in _SLICED:
        train = part(_TRAINED[args.step][0])
        train(args.corpus, args.out, args.minutes, args.batch, span=tuple(args.span))
    elif args.step in _TRAINED:
        part(_TRAINED[args.step][0])(args.corpus, args.out, args.minutes, args.batch)
    elif args.step == "corpus":
        part("corpus.make")(args.corpus, args.sentences, args.seed, args.processes)
    elif args.step == "natural-corpus":
        part("corpus.from_shards")(args.shards, args.corpus)
    elif args.step == "codes":
        part("codes", "encode_corpus")(args.corpus, args.out, args.batch)
    elif args.step == "embeddings":
        part("speaker_encoder", "embed_corpus")(args.corpus, args.out, args.batch)
    elif args.step == "plots":
        part("plots")(args.out, args.folder)
    elif args.step == "evaluate":
        part("evaluate")(args.config, args.report)
    else:
        part("assemble")(args.out, args.checkpoint)


if __name__ == "__main__":
    main()
