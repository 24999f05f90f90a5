"""Measure a model on a few frames of one maze: python measure.py [FRAMES]. It needs the extras data and eval."""

import sys

from arvdm_cli import load, measure

wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 16


def main() -> None:
    """Compare two schedules over two paths, then test what is found again when a thing comes back into view."""
    model = load("maze", dtype="float32")
    for schedule in ("outpainting", "next-frame"):
        drift = measure.drift(model, truth="truth", mazes=1, length=wanted, schedule=schedule)
        for span in drift.rows[0].ranges:  # of frames, for revisits and for unseen ground
            print(f"{schedule}: {span.ground}, frames {span.frames}: PSNR {span.figures['psnr']:.1f} dB")

    memory = measure.memory(model, kinds=["theme"], gaps=[16], controls=["memory", "none"], worlds=2, frames=2)
    print(memory)  # tables, as the command prints them
    for test in memory.rows:
        print(test.retrieval.control, test.retrieval.accuracy.top1, test.retrieval.margin)


if __name__ == "__main__":  # mazes are rendered by processes, which read this script again
    main()
