# SPDX-License-Identifier: Apache-2.0
"""The planted faults: what users complain about, a pure function over messages, the finding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from recording import (
    CAMERAS,
    MS,
    START_NS,
    Fault,
    edit,
    edit_mounting,
    every,
    image_topic,
    images_of,
    infos_of,
)
from rig_picture_faults import (
    cut,
    exchange_pictures,
    freeze,
    halve_pixels,
    pictures,
    scale_declared_size,
    set_format,
    set_frame,
    set_info,
    set_k,
    show_the_same,
    wrong_step,
)
from rig_stamp_faults import (
    any_camera,
    arrive,
    end_ns,
    loop,
    numbered,
    reorder,
    repeat_every_image,
    set_stamp,
    shift_everything,
    shift_stamps,
    spread_out,
)
from rig_topic_faults import (
    best_effort,
    drop,
    lose_a_little_everywhere,
    nothing,
    rename,
    to_large_raw_with_losses,
    to_raw,
    volatile,
)
from rig_transform_faults import (
    about_axis,
    as_dynamic,
    below_ground,
    body_frame,
    both_ways,
    close_loop,
    edit_tf_static,
    exchange_everything,
    exchange_frames,
    in_millimetres,
    on_a_cab_without_news,
    parent_and_child_exchanged,
    renamed_parent,
    same_pose,
    second_parent,
    spoil_quaternion,
    turned_vehicle,
    without_transform,
    yawed,
)

from simdistill_ros.core.frames import inverse, rigid

LEFT, RIGHT = "cam_front_left", "cam_front_right"


@dataclass(frozen=True)
class Planted:
    """One complaint.

    Attributes:
        complaint: In a user's words.
        fault: What it does to a healthy recording.
        code: The finding that names it.
        about: Cameras that the finding names.
        parameters: The node's parameters, lines of YAML below ros__parameters.
        qos: Offered profiles by topic.
    """

    complaint: str
    fault: Fault
    code: str
    about: tuple[str, ...] = ()
    parameters: str = ""
    qos: Mapping[str, Any] = field(default_factory=dict)


D_LENS = [-0.3, 0.1, 0.0, 0.0, 0.0]
CALIBRATION_AND_FRAMES = (
    Planted("boxes point the wrong way because the frame is not optical",
            edit_mounting("cam_back", body_frame), "frame_not_optical", ("cam_back",)),
    Planted("the extrinsic matrix is the inverse of what it should be",
            edit_mounting("cam_back", inverse), "extrinsics_inverted", ("cam_back",)),
    Planted("parent and child frame are exchanged in the transform",
            parent_and_child_exchanged("cam_back"), "extrinsics_inverted", ("cam_back",)),
    Planted("the extrinsics are in millimetres",
            edit_mounting("cam_back", in_millimetres), "translation_units", ("cam_back",)),
    Planted("a camera is below the ground",
            edit_mounting("cam_back", below_ground), "camera_misplaced", ("cam_back",)),
    Planted("a camera is upside down in TF",
            edit_mounting("cam_front_left", about_axis(180)), "camera_rolled", (LEFT,)),
    Planted("a picture is upside down but TF is upright",
            pictures(lambda image: image[::-1, ::-1], "cam_front"), "picture_turned",
            ("cam_front",)),
    Planted("a driver mirrors its picture",
            pictures(lambda image: image[:, ::-1], LEFT), "picture_turned", (LEFT,)),
    Planted("a camera looks into the sky",
            edit_mounting("cam_back", lambda pose: pose @ rigid(
                [[1, 0, 0], [0, 0.5, -0.866], [0, 0.866, 0.5]], [0, 0, 0])),
            "camera_steep", ("cam_back",)),
    Planted("the lidar frame with y forward serves as base_link",
            every(edit_mounting(c, turned_vehicle) for c in CAMERAS), "rig_turned", CAMERAS),
    Planted("left and right are swapped in the topics of the parameters",
            exchange_everything(LEFT, RIGHT), "cameras_swapped", (LEFT, RIGHT)),
    Planted("front and back are swapped in TF",
            exchange_frames("cam_front", "cam_back"), "cameras_swapped",
            ("cam_front", "cam_back")),
    Planted("the cables of left and right are exchanged",
            exchange_pictures(LEFT, RIGHT), "pictures_swapped", (LEFT, RIGHT)),
    Planted("a camera's yaw is wrong by ninety degrees",
            edit_mounting("cam_back", yawed(90)), "azimuth_unexpected", ("cam_back",)),
    Planted("the same topic is subscribed twice under two names",
            show_the_same("cam_back_left", "cam_back_right"), "images_duplicated",
            ("cam_back_left", "cam_back_right")),
    Planted("two drivers opened the same camera",
            every([show_the_same("cam_back_left", "cam_back_right"),
                   pictures(lambda image: image, "cam_back_right")]),
            "images_duplicated", ("cam_back_left", "cam_back_right")),
    Planted("the cables of front and back are exchanged",
            exchange_pictures("cam_front", "cam_back"), "pictures_swapped",
            ("cam_front", "cam_back")),
    Planted("two cameras have the same extrinsics",
            edit_tf_static(lambda message: same_pose(message, "cam_back_left", "cam_back")),
            "extrinsics_shared", ("cam_back_left", "cam_back")),
    Planted("there is no transform for a camera",
            without_transform("cam_back"), "camera_frame_missing", ("cam_back",)),
    Planted("the bag has no transforms at all",
            drop(lambda e: e.topic.startswith("/tf")), "tf_none"),
    Planted("the vehicle frame has another name",
            every([edit_tf_static(lambda m: renamed_parent(m, "base_footprint")),
                   drop(lambda e: e.topic == "/tf")]), "base_frame_missing"),
    Planted("the camera hangs on another tree than the vehicle",
            edit_tf_static(lambda m: renamed_parent(m, "roof", "cam_back")),
            "tf_not_connected", ("cam_back",)),
    Planted("frame_id is empty",
            edit(lambda e: any_camera(e) and e.camera == "cam_back", lambda m: set_frame(m, "")),
            "frame_id_empty", ("cam_back",)),
    Planted("image and CameraInfo disagree about the frame",
            edit(infos_of("cam_back"), lambda m: set_frame(m, "cam_back")),
            "frame_id_differs", ("cam_back",)),
    Planted("a quaternion is all zero",
            edit_tf_static(spoil_quaternion), "tf_invalid"),
    Planted("a camera frame has two parents", second_parent, "tf_two_parents",
            ("cam_back",)),
    Planted("the transforms form a loop", close_loop, "tf_loop"),
    Planted("extrinsics come on tf twice a second",
            as_dynamic(500 * MS, end_ns() + 500 * MS), "tf_late", CAMERAS),
    Planted("a fixed mounting is published on tf ten times a second",
            as_dynamic(100 * MS, end_ns() + 500 * MS), "tf_static_as_dynamic", CAMERAS),
    Planted("the publisher of a mounting died",
            as_dynamic(100 * MS, START_NS + 500 * MS, "cam_back"), "tf_stale", ("cam_back",)),
    Planted("a mounting comes on tf and on tf_static", both_ways, "tf_both",
            ("cam_back",)),
    Planted("transforms come too late for the images", on_a_cab_without_news, "tf_late", CAMERAS),
    Planted("ego motion cannot be undone because odometry is missing",
            drop(lambda e: e.topic == "/tf"), "fixed_frame_missing", CAMERAS,
            "    fixed_frame: odom\n"),
    Planted("K is all zero in the bag",
            set_info(k=[0.0] * 9), "uncalibrated", ("cam_back",)),
    Planted("R is no rotation in the bag",
            set_info(r=[1.0, 0, 0, 1, 0, 0, 1, 0, 0]), "info_rotation", ("cam_back",)),
    Planted("K has a NaN", set_info(k=[float("nan")] * 9), "info_unusable", ("cam_back",)),
    Planted("the distortion model is unknown",
            set_info(distortion_model="fisheye62", d=D_LENS), "info_unusable", ("cam_back",)),
    Planted("the image was cropped and CameraInfo does not say so",
            pictures(lambda image: image[60:], "cam_back"), "aspect_differs", ("cam_back",)),
    Planted("the image was resized and K was not scaled",
            every([edit(images_of("cam_back"), halve_pixels),
                   edit(infos_of("cam_back"), scale_declared_size)]),
            "intrinsics_not_scaled", ("cam_back",)),
    Planted("the principal point is at the corner",
            edit(infos_of("cam_back"), lambda info: set_k(info, 2, 20.0)),
            "principal_point_off", ("cam_back",)),
    Planted("fx and fy are far apart",
            edit(infos_of("cam_back"), lambda info: set_k(info, 4, 1.6 * info.k[4])),
            "focal_lengths_differ", ("cam_back",)),
    Planted("the focal length is in millimetres",
            edit(infos_of("cam_back"), lambda info: set_k(set_k(info, 0, 4.0), 4, 4.0)),
            "field_of_view_odd", ("cam_back",)),
    Planted("a rectified image is undistorted once more",
            set_info(d=D_LENS), "rectified_as_raw", ("cam_back",)),
    Planted("a raw image is taken for rectified",
            every([set_info(d=D_LENS), lambda r: [
                replace(e, topic=e.topic.replace("image_rect_compressed", "image_raw"))
                if images_of("cam_back")(e) else e for e in r]]),
            "raw_as_rectified", ("cam_back",),
            "    input:\n      rectified: true\n"
            "    cameras:\n      cam_back:\n        image_topic: /cam_back/image_raw\n"),
    Planted("P is empty though images are rectified",
            set_info(p=[0.0] * 12), "projection_missing", ("cam_back",),
            "    input:\n      rectified: true\n"),
    Planted("CameraInfo changes while driving",
            edit(lambda e: infos_of("cam_back")(e) and e.arrival_ns > START_NS + 1000 * MS,
                 lambda info: set_k(info, 0, 1.02 * info.k[0])), "info_changes", ("cam_back",)),
    Planted("one camera of a pair is narrower and leaves a gap",
            edit(infos_of("cam_back"), lambda info: set_k(set_k(info, 0, 800.0), 4, 800.0)),
            "coverage_gap"),
    Planted("the parameter file has a typing error",
            nothing, "parameter_unknown", (), "    base_frme: base_link\n"),
    Planted("the camera names are not the model's",
            nothing, "model_cameras", (), "    cameras:\n      names: front, back\n"),
    Planted("the model folder does not exist",
            nothing, "model_unusable", (), "    model:\n      path: /no/such/model\n"),
)  # fmt: skip

NO_OUTPUT = (
    Planted("the driver does not stamp its images",
            edit(images_of("cam_back"), lambda m: set_stamp(m, 0)), "stamp_zero", ("cam_back",)),
    Planted("QoS does not match: best effort offered, reliable requested",
            nothing, "qos_incompatible", ("cam_back",), "    input:\n      reliability: reliable\n",
            {image_topic("cam_back"): best_effort()}),
    Planted("static transforms are volatile so late nodes never get them",
            nothing, "qos_incompatible", (), "", {"/tf_static": volatile()}),
    Planted("the tolerance is smaller than the cameras' spread",
            spread_out, "tolerance_too_small"),
    Planted("one camera's clock is five seconds ahead",
            shift_stamps(lambda e: any_camera(e) and e.camera == "cam_back", 5000 * MS),
            "clock_offset", ("cam_back",)),
    Planted("all stamps count from boot",
            lambda r: shift_everything(r, 3_600_000 * MS - START_NS), "stamp_epoch"),
    Planted("all stamps lie in the future",
            lambda r: shift_everything(r, 400 * MS), "stamp_future", CAMERAS),
    Planted("images arrive seconds late",
            lambda r: arrive(r, 2500 * MS), "stamp_old", CAMERAS),
    Planted("stamps are the moment of publication",
            lambda r: arrive(r, MS), "stamp_at_publication", CAMERAS),
    Planted("messages of a camera are reordered", reorder, "stamp_backward", ("cam_back",)),
    Planted("messages of a camera come twice", repeat_every_image, "stamp_repeated",
            ("cam_back",)),
    Planted("a bag loops", loop, "time_jump", CAMERAS),
    Planted("the image topic has another name",
            rename("cam_back", "rear_camera"), "topic_missing", ("cam_back",)),
    Planted("there is no CameraInfo",
            drop(infos_of("cam_back")), "info_topic_missing", ("cam_back",)),
    Planted("the images are raw but the node expects compressed ones",
            lambda r: [replace(e, topic=image_topic(e.camera)) if e.is_image else e
                       for e in to_raw(r)], "topic_type", CAMERAS),
    Planted("a camera died", drop(lambda e: any_camera(e) and e.camera == "cam_back"
                                  and e.arrival_ns > START_NS + 700 * MS),
            "camera_silent", ("cam_back",)),
    Planted("a camera drops every fifth frame",
            numbered(images_of("cam_back"), lambda n: n % 5 != 2), "dropped_frames",
            ("cam_back",)),
    Planted("a camera runs at half the rate",
            numbered(lambda e: any_camera(e) and e.camera == "cam_back", lambda n: n % 2 == 0),
            "rate_differs", ("cam_back",)),
    Planted("large raw images get lost on the way",
            to_large_raw_with_losses, "loss_large_messages", ("cam_front",),
            "    input:\n      compressed: false\n"),
    Planted("every camera loses an image now and then", lose_a_little_everywhere,
            "sets_incomplete"),
    Planted("the encoding changes on the way",
            edit(lambda e: images_of("cam_back")(e) and e.arrival_ns > START_NS + 1000 * MS,
                 lambda m: set_format(m, "rgb8; jpeg compressed bgr8")),
            "encoding_changes", ("cam_back",)),
    Planted("JPEGs arrive cut", edit(images_of("cam_back"), cut), "image_undecodable",
            ("cam_back",)),
    Planted("a driver fills step wrongly", wrong_step, "image_undecodable", ("cam_back",),
            "    input:\n      compressed: false\n"),
    Planted("the resolution changes on the way",
            edit(lambda e: images_of("cam_back")(e) and e.arrival_ns > START_NS + 1000 * MS,
                 halve_pixels), "size_changes", ("cam_back",)),
    Planted("a driver repeats its last frame", freeze, "image_frozen", ("cam_back",)),
    Planted("the lens cap is on",
            pictures(lambda image: np.random.default_rng(0).integers(
                0, 3, image.shape).astype(np.uint8), "cam_back"), "image_black", ("cam_back",)),
    Planted("the picture is overexposed",
            pictures(lambda image: np.where(np.arange(image.shape[0])[:, None, None] < 150,
                                            255, image).astype(np.uint8), "cam_back"),
            "image_overexposed", ("cam_back",)),
)  # fmt: skip


FAULTS = CALIBRATION_AND_FRAMES + NO_OUTPUT
