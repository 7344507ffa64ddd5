# SPDX-License-Identifier: Apache-2.0
"""Pictures of what the node sees and says, for people: all cameras with boxes, and from above.

Optional topics. Nothing is kept, decoded or drawn while nobody listens. What is drawn is drawn on a
thread of its own from the messages' own bytes, after the detections have left; a picture that is
late is overtaken by the next. Both carry the detections' stamp and the vehicle's frame.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage

from simdistill_ros.conversions import jpeg_to_msg
from simdistill_ros.core.boxes import Detections
from simdistill_ros.core.camera import shrunk_calibration
from simdistill_ros.core.images import Scratch, decode_image
from simdistill_ros.core.preprocess import InputRule
from simdistill_ros.core.snapshot import ImageArray, Snapshot, View
from simdistill_ros.drawing.bev_canvas import BevCanvas
from simdistill_ros.drawing.mosaic import Mosaic, tile_width_px
from simdistill_ros.image_preparation import SourceImage
from simdistill_ros.parameters import OverlayParameters
from simdistill_ros.qos_events import publisher_events, warn_of_refusal
from simdistill_ros.worker import Worker

MOSAIC, BEV = "mosaic", "bev"
OVERLAY_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
STOP_TIMEOUT_S = 2.0
# Without it, on two busy cores, the slowest detections wait for pictures.
NICENESS = 10


@dataclass(frozen=True)
class OverlayJob:
    """What a picture is drawn from.

    Attributes:
        snapshot: Geometry; the images in it may be network input and are not drawn.
        sources: Images as they arrived, by camera; none while nobody looks at the mosaic.
        detections: Boxes in the ego frame.
        blind: (M,) which of M equal directions no image shows.
        frame: Name of the ego frame.
    """

    snapshot: Snapshot
    sources: Mapping[str, SourceImage]
    detections: Detections
    blind: npt.NDArray[np.bool_]
    frame: str


class Overlays:
    """The publishers of a node's pictures, and the thread that draws while the node is active."""

    def __init__(
        self,
        node: Any,
        parameters: OverlayParameters,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Create the publishers of the topics that are switched on."""
        self._parameters = parameters
        self._clock_ns = clock_ns
        self._publishers = {
            name: node.create_lifecycle_publisher(
                CompressedImage,
                f"~/overlay/{name}/compressed",
                OVERLAY_QOS,
                event_callbacks=publisher_events(partial(warn_of_refusal, node, name)),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
            for name, is_on in ((MOSAIC, parameters.mosaic), (BEV, parameters.bev))
            if is_on
        }
        self._mosaic = Mosaic(parameters.width_px)
        self._scratch = Scratch()
        self._worker: Worker[OverlayJob] | None = None
        self._is_behind = False
        self._offered_ns: int | None = None
        self.published = 0

    def is_heard(self, name: str) -> bool:
        """Tell whether somebody listens to a picture."""
        publisher = self._publishers.get(name)
        return publisher is not None and publisher.get_subscription_count() > 0

    @property
    def needs_images(self) -> bool:
        """Whether the images of snapshots should be kept: somebody looks at the mosaic."""
        return self.is_heard(MOSAIC)

    def start(self, on_error: Callable[[BaseException], None]) -> None:
        """Start the thread, if there is anything to draw."""
        if self._publishers:
            self._is_behind = False
            self._worker = Worker(self._draw_behind, on_error, "overlays")
            self._worker.start()

    def stop(self) -> None:
        """Stop the thread; what waits is not drawn."""
        if self._worker is not None:
            self._worker.stop(STOP_TIMEOUT_S)
            self._worker = None

    def is_due(self) -> bool:
        """Tell whether a picture should be offered now: somebody listens, and not too soon."""
        if self._worker is None or not (self.is_heard(MOSAIC) or self.is_heard(BEV)):
            return False
        now_ns = self._clock_ns()
        return self._offered_ns is None or now_ns - self._offered_ns >= self._parameters.period_ns

    def offer(self, job: OverlayJob) -> None:
        """Hand over what a picture is drawn from; it replaces one that still waits."""
        if self._worker is not None:
            self._offered_ns = self._clock_ns()
            self._worker.submit(job)

    def destroy(self, node: Any) -> None:
        """Destroy the publishers."""
        self.stop()
        for publisher in self._publishers.values():
            node.destroy_publisher(publisher)
        self._publishers.clear()

    def _draw_behind(self, job: OverlayJob) -> None:
        """Draw after all else: on Linux a thread has a priority of its own, and cores go by it."""
        if sys.platform == "linux" and not self._is_behind:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
            self._is_behind = True
        self._draw(job)

    def _draw(self, job: OverlayJob) -> None:
        keep = job.detections.scores >= self._parameters.min_score
        job = replace(job, detections=job.detections.select(keep))
        if self.is_heard(BEV):
            self._publish(BEV, self._draw_bev(job), job)
        # An image that came before the listener did has no source; its snapshot is passed over.
        if self.is_heard(MOSAIC) and all(v.camera in job.sources for v in job.snapshot.views):
            self._publish(MOSAIC, self._draw_mosaic(job), job)

    def _draw_bev(self, job: OverlayJob) -> ImageArray:
        canvas = BevCanvas(self._parameters.width_px // 2, job.blind)
        canvas.draw_detections(job.detections)
        canvas.write_scale()
        return canvas.image

    def _draw_mosaic(self, job: OverlayJob) -> ImageArray:
        views = job.snapshot.views
        width_px = tile_width_px(self._parameters.width_px, len(views) + len(job.snapshot.missing))
        whole = tuple(self._whole_view(v, job.sources[v.camera], width_px) for v in views)
        return self._mosaic.draw(replace(job.snapshot, views=whole), job.detections)

    def _whole_view(self, view: View, source: SourceImage, width_px: int) -> View:
        """Return a view with the camera's image, JPEGs decoded little larger than `width_px`."""
        tile = InputRule((1, 1), width_px)
        decoded = decode_image(
            source.encoded, self._scratch, lambda image_hw: tile.jpeg_denominator(image_hw, "fast")
        )
        pixels = decoded.pixels[..., ::-1] if decoded.is_bgr else decoded.pixels
        return replace(
            view,
            image=np.array(pixels, order="C"),
            calibration=shrunk_calibration(source.calibration, decoded.denominator),
            is_network_input=False,
        )

    def _publish(self, name: str, picture: ImageArray, job: OverlayJob) -> None:
        jpeg = simplejpeg.encode_jpeg(picture, quality=self._parameters.quality, colorspace="RGB")
        message = jpeg_to_msg(jpeg, job.frame, job.snapshot.stamp_ns)
        publisher = self._publishers.get(name)
        if publisher is not None:
            publisher.publish(message)
            self.published += 1
