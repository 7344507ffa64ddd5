# SPDX-License-Identifier: Apache-2.0
"""The detector's lifecycle node: parameters → wiring → publish.

A thread takes images and transforms, decoding threads prepare images as they come, the worker's
thread infers and publishes; the executor's thread has services and timers. Read `camera_inputs.py`
for what comes in, `pipeline.py` for what is done with a snapshot, `outputs.py` for what goes out,
`monitor.py` for what the node says of itself.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from simdistill_ros.camera_inputs import CameraInputs
from simdistill_ros.core.detector import DetectorLike
from simdistill_ros.core.transform_tree import TransformTree
from simdistill_ros.diagnostics import diagnostics_to_msg
from simdistill_ros.free_memory import give_memory_back, spare_from_collection
from simdistill_ros.health import Health
from simdistill_ros.image_loss import LossMeter
from simdistill_ros.image_sync import ImageSync, make_sync
from simdistill_ros.load_detector import load_detector
from simdistill_ros.log_forwarding import forward_logs, stop_forwarding
from simdistill_ros.message_thread import MessageThread
from simdistill_ros.monitor import Monitor, NodeParts, unless_ended
from simdistill_ros.name_check import SUBJECT as NAME_SUBJECT
from simdistill_ros.name_check import report_namesakes
from simdistill_ros.outputs import Outputs
from simdistill_ros.parameter_changes import ParameterGuard
from simdistill_ros.parameters import (
    CameraTopics,
    NodeParameters,
    ParameterError,
    camera_names,
    camera_topics,
    declare_parameters,
    read_live_parameters,
    read_parameters,
)
from simdistill_ros.pipeline import Pipeline
from simdistill_ros.process_end import ProcessEnd, end_now
from simdistill_ros.recalibration import CalibrationStore
from simdistill_ros.transform_input import TransformInput

WATCH_PERIOD_S = 1.0  # of a node that rests; an active one looks with each poll
# A round of diagnostics keeps the interpreter for 2 to 4 ms: it waits for a worker that needs it.
PATIENCE_S, LOOK_S = 0.05, 0.002
# Threads that wait for the interpreter get it after this time, not after Python's 5 ms.
SWITCH_INTERVAL_S = 0.0005
STOP_TIMEOUT_S = 5.0
END_TIMEOUT_S = 0.5
DetectorFactory = Callable[[NodeParameters], DetectorLike]


class DetectorNode(LifecycleNode):
    """Six cameras with calibration in, `vision_msgs/Detection3DArray` out."""

    def __init__(
        self,
        detector_factory: DetectorFactory = load_detector,
        node_name: str = "detector",
        **node_options: Any,
    ) -> None:
        """Declare parameters and start `/diagnostics`; nothing is loaded yet.

        Args:
            detector_factory: Makes the detector when the node is configured.
            node_name: Name of the node.
            node_options: Passed to `LifecycleNode`.
        """
        super().__init__(node_name, **node_options)
        self._cameras: list[CameraTopics] = []
        self._detector_factory = detector_factory
        self._log_handler = forward_logs(self.get_logger())
        declare_parameters(self)
        self._parameter_guard = ParameterGuard(self, lambda: len(self._cameras), self._refresh)
        self._settings = read_parameters(self)
        self._live = read_live_parameters(self)
        self.health = Health(
            time.monotonic_ns, self.get_logger().warning, self._settings.log_period_ns
        )
        self._phase = "unconfigured"
        self._namesakes = 0
        self._detector: DetectorLike | None = None
        self._sync: ImageSync | None = None
        self._outputs: Outputs | None = None
        self._pipeline: Pipeline | None = None
        self._inputs: CameraInputs | None = None
        self._transform_input: TransformInput | None = None
        self._message_thread: MessageThread | None = None
        self._losses: dict[str, LossMeter] = {}
        self._calibrations = CalibrationStore()
        self._transforms = TransformTree(self._settings.tf_cache_ns)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        period_s = self._settings.diagnostics_period_ns / 1e9
        # Simulated time may stand still, or never begin: the node speaks all the same.
        self._steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics_timer = self.create_timer(
            period_s,
            unless_ended(self.context, self.publish_diagnostics),
            clock=self._steady_clock,
        )
        self._monitor = Monitor(self, self.health, self._parts)
        self._watch_timer = self.create_timer(
            WATCH_PERIOD_S,
            unless_ended(self.context, self._monitor.watch),
            clock=self._steady_clock,
        )

    def autostart(self) -> bool:
        """Configure and activate if `autostart` says so; return whether the node is active."""
        if self.get_parameter("autostart").value:
            self.trigger_configure()
            if self._phase == "inactive":
                self.trigger_activate()
        return self._phase == "active"

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, choose topics, create publishers."""
        try:
            self._settings = read_parameters(self)
            detector = self._detector_factory(self._settings)
            names = camera_names(self, detector.cameras)
            compressed = self._settings.input.compressed
            self._cameras = camera_topics(self, names, compressed=compressed)
            self._sync = make_sync(self._settings.sync, names, self.health)
        except (ParameterError, ValueError, OSError, ImportError, RuntimeError) as error:
            self.health.fault("model", "not_configured", str(error))
            return TransitionCallbackReturn.FAILURE
        self._monitor.check_environment(compressed=compressed)
        self._detector = detector
        self._outputs = Outputs(self, self._settings.overlay)
        self.health.good("model")
        self.get_logger().info(f"configured: {detector.description}")
        self._phase = "inactive"
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the worker and subscribe."""
        assert self._detector is not None
        assert self._outputs is not None
        assert self._sync is not None
        super().on_activate(state)
        self._refresh()
        self._pipeline = Pipeline(
            self._settings,
            detector=self._detector,
            outputs=self._outputs,
            calibrations=self._calibrations,
            transforms=self._transforms,
            health=self.health,
            live_parameters=lambda: self._live,
            wall_clock_ns=lambda: int(self.get_clock().now().nanoseconds),
            is_ros_alive=self.context.ok,
            node_name=self.get_fully_qualified_name(),
        )
        self._transform_input = TransformInput(self, self._transforms, self.health)
        self._losses = {camera.name: LossMeter() for camera in self._cameras}
        self._inputs = CameraInputs(
            self,
            self._cameras,
            self._settings.input,
            preparer=self._pipeline.preparer,
            sync=self._sync,
            calibrations=self._calibrations,
            losses=self._losses,
            health=self.health,
            ros_now_ns=lambda: int(self.get_clock().now().nanoseconds),
            on_set=self._pipeline.submit,
            refresh=self._on_poll,
        )
        spare_from_collection()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        sources = (self._transform_input, self._inputs)
        self._message_thread = MessageThread(self.context, sources, "messages")
        self._message_thread.start()
        self._phase = "active"
        self.get_logger().info(f"active: {len(self._cameras)} cameras, results on ~/detections")
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, stop the worker and forget what was collected."""
        self._stop()
        if self._outputs is not None:
            self._outputs.clear_markers()
        self._phase = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the model."""
        self._stop()
        self._release()
        self._phase = "unconfigured"
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release everything."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured after an exception in a transition."""
        self.health.fault(
            "model", "transition_failed", f"error in state {state.label}; see the log"
        )
        return self.on_cleanup(state)

    def close(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """Stop the worker and release the model; the node itself can then be destroyed.

        Returns:
            Whether the worker ended in time; if not, the process can only be ended as a whole.
        """
        ended = self._stop(timeout_s)
        self._release()
        stop_forwarding(self._log_handler)
        self._phase = "finalized"
        return ended

    def publish_diagnostics(self) -> None:
        """Publish one round of `/diagnostics`, when the worker rests."""
        self._wait_for_worker()
        self._namesakes = self._checked_namesakes()
        stamp_ns = int(self.get_clock().now().nanoseconds)
        self._diagnostics.publish(diagnostics_to_msg(self._monitor.facts(), stamp_ns))

    def _wait_for_worker(self) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while (
            self._pipeline is not None
            and self._pipeline.in_hand_ns() is not None
            and time.monotonic() < deadline_s
        ):
            time.sleep(LOOK_S)

    def _checked_namesakes(self) -> int:
        namesakes = report_namesakes(self, self.health)
        if self._namesakes and not namesakes:
            self.health.good(NAME_SUBJECT)
        return namesakes

    def _on_poll(self) -> None:
        self._refresh()
        self._monitor.watch()

    def _refresh(self) -> None:
        """Read the parameters that may have changed; to ask rclpy for each snapshot takes long."""
        self._live = read_live_parameters(self)
        if self._sync is not None:
            self._sync.set_missing_cameras(self._live.missing)

    def _parts(self) -> NodeParts:
        return NodeParts(
            state=self._phase,
            settings=self._settings,
            cameras=self._cameras,
            calibrations=self._calibrations,
            losses=self._losses,
            sync=self._sync,
            pipeline=self._pipeline,
            detector=self._detector,
        )

    def _stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """Unsubscribe and stop the worker; return whether it ended in time."""
        if self._message_thread is not None:
            self._message_thread.stop()
            self._message_thread = None
        for source in (self._inputs, self._transform_input):
            if source is not None:
                source.destroy(self)
        self._inputs = self._transform_input = None
        ended = self._pipeline is None or self._pipeline.close(timeout_s)
        if not ended:
            self.health.fault("inference", "stuck", "the worker did not stop in time")
            self._detector = None  # the worker still uses it, so it must not be closed
        self._pipeline = None
        if self._sync is not None:
            self._sync.reset()
        self._calibrations.clear()
        return ended

    def _release(self) -> None:
        if self._outputs is not None:
            self._outputs.destroy(self)
        if self._detector is not None:
            self._detector.close()
        self._outputs = self._detector = self._sync = None
        self._cameras = []
        give_memory_back()


def _spin(executor: SingleThreadedExecutor, process_end: ProcessEnd) -> None:
    """Run callbacks until a signal asks for the end.

    An exception that a signal raises while an object is being destroyed is lost, so the signal is
    asked for too; what fails after it fails because the signal has ended the context.
    """
    try:
        while not process_end.is_asked:
            executor.spin_once()
    except Exception:
        if not process_end.is_asked:
            raise


def main(
    arguments: list[str] | None = None, detector_factory: DetectorFactory = load_detector
) -> None:
    """Run the node until it is told to stop."""
    process_end = ProcessEnd()
    process_end.install()
    ended = True
    try:
        rclpy.init(args=arguments)
        ended = _run(process_end, detector_factory)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    # The middleware's shared memory outlives the process unless the node is gone before.
    process_end.farewell = None
    gc.collect()
    rclpy.try_shutdown()
    # Not logged: the signal ended the context, and with it /rosout.
    print("ended" if ended else "ended while a snapshot was in hand", file=sys.stderr)
    if process_end.is_asked or not ended:
        end_now()


def _run(process_end: ProcessEnd, detector_factory: DetectorFactory) -> bool:
    """Run a node; return whether its worker ended in time."""
    node = None
    ended = True
    try:
        node = DetectorNode(detector_factory)
        process_end.farewell = node.destroy_node
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        node.autostart()
        _spin(executor, process_end)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if node is not None:
            ended = node.close(END_TIMEOUT_S)
            node.destroy_node()
    return ended


if __name__ == "__main__":
    main()
