"""What the options of the segment command stand for: the network and the job."""

import argparse
from typing import TYPE_CHECKING

from bev_instseg.cli.arguments import make_segmenter
from bev_instseg.cli.segment_tracks import tracking_settings
from bev_instseg.export import POINT_FORMATS, Picture
from bev_instseg.io.sensor_setup import SensorSetup
from bev_instseg.io.survey import Survey

if TYPE_CHECKING:  # torch: not for --help
    from bev_instseg.jobs.job import Job
    from bev_instseg.segmenter import Segmenter

# Option: the pictures it draws.
PICTURES = {
    "png": (Picture.BEV, Picture.PERSPECTIVE),
    "maps": (Picture.MAPS,),
    "html": (Picture.WEB_PAGE,),
}


def make_segmenter_with_extras(arguments: argparse.Namespace) -> "Segmenter":
    """Create the segmenter that the options describe; raises the errors of `make_segmenter`."""
    segmenter = make_segmenter(arguments, arguments.track)
    return segmenter.with_extras(arguments.unknown, arguments.ground)


def new_segmenter(arguments: argparse.Namespace) -> "Segmenter":
    """Load the network; with --ray only for its settings, because the workers compute."""
    if arguments.track:
        from bev_instseg.tracking.tracker import with_weak_instances

        return with_weak_instances(make_segmenter_with_extras(arguments))
    if arguments.ray is None:
        return make_segmenter_with_extras(arguments)
    if (
        arguments.runtime == "auto"
        and arguments.device != "cpu"
        and isinstance(arguments.weights, str)
    ):
        arguments.runtime = "torch"  # what auto means on a GPU, which the workers may have
    return make_segmenter_with_extras(
        argparse.Namespace(**{**vars(arguments), "device": "cpu", "sparse": "auto"})
    )


def new_job(
    arguments: argparse.Namespace, segmenter: "Segmenter", setup: SensorSetup, survey: Survey
) -> "Job":
    """Return the job that the options describe.

    Args:
        arguments: The parsed command line.
        segmenter: Finds the instances.
        setup: What is known about how the sweeps are stored.
        survey: What the sweeps have in common.

    Raises:
        FileNotFoundError: There is no such calibration.
    """
    from bev_instseg.jobs.job import Job, settings_fingerprint

    if arguments.calib is not None and not arguments.calib.exists():
        raise FileNotFoundError(2, "no such file or folder; check --calib", str(arguments.calib))
    return Job(
        out=arguments.out.resolve(),
        settings=settings_fingerprint(
            segmenter, setup, arguments.tiles, tracking_settings(arguments)
        ),
        setup=setup,
        formats=tuple(name for name in POINT_FORMATS if getattr(arguments, name)),
        pictures=tuple(p for name in PICTURES if getattr(arguments, name) for p in PICTURES[name]),
        calibration=arguments.calib and arguments.calib.resolve(),
        image_size_px=segmenter.config.data.image_size_px,
        tiles=arguments.tiles,
        survey=survey,
    )
