# SPDX-License-Identifier: Apache-2.0
# Environment of everything that runs here; source it from bash or sh in the repository's root.
# The launch files set the same for `ros2 launch`.

# Without this profile, most raw 1600x900 images are lost between processes. Up to Jazzy its variable
# had another name, of which newer distributions warn.
: "${FASTDDS_DEFAULT_PROFILES_FILE:=$PWD/config/fastdds_profile.xml}"
export FASTDDS_DEFAULT_PROFILES_FILE
case "${ROS_DISTRO:-${ROS_LOCK:-}}" in
    humble | iron | jazzy | ros-jazzy)
        export FASTRTPS_DEFAULT_PROFILES_FILE="${FASTRTPS_DEFAULT_PROFILES_FILE:-$FASTDDS_DEFAULT_PROFILES_FILE}"
        ;;
esac

# Stay on this machine: neither hear nor disturb robots on the network.
export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"

# Keep image-sized buffers inside the process; glibc would return each one to the kernel.
export MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_:-268435456}"
export MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-1073741824}"
export MALLOC_TOP_PAD_="${MALLOC_TOP_PAD_:-4194304}"
export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX:-2}"

# Network threads that wait sleep instead of spinning.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
export OPENBLAS_NUM_THREADS="${OPENBLAS_NUM_THREADS:-1}"

# Left by a python of another environment with ROS wheels; ours would not find its libraries.
if [ -n "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ]; then
    unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH
fi
