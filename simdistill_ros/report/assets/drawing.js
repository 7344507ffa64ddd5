// SPDX-License-Identifier: Apache-2.0
// What the viewer draws: boxes over a camera's image, and everything from above.
"use strict";

const isFalse = (box) => box.counted === 1 && box.partner < 0;
const isMissedAt = (frame, truth, cut) => truth.counted === 1
  && (truth.partner < 0 || frame.predictions[truth.partner].score < cut);

// data, state: the viewer's; shownPredictions, shownTruths: a frame's boxes that pass its filters.
function makeDrawing(data, state, shownPredictions, shownTruths) {
  const SLOWEST_ARROW_MPS = 0.5;
  const colors = data.classes.map(({ color }) => `rgb(${color})`);
  const fills = data.classes.map(({ color }) => `rgba(${color}, 0.35)`);
  const theme = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const isMissed = (frame, truth) => isMissedAt(frame, truth, state.cut);

  function drawCamera(canvas, camera, image, frame) {
    // Lines are drawn at the screen's resolution, so that they stay sharp.
    const scale = Math.max(1, (canvas.clientWidth * devicePixelRatio) / camera.width);
    canvas.width = Math.round(camera.width * scale);
    canvas.height = Math.round(camera.height * scale);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    // Pixel centres lie at integers; the canvas has them at halves.
    context.setTransform(scale, 0, 0, scale, scale / 2, scale / 2);
    const lines = (box, color, dashes, width, fill) => {
      const pixels = homogeneousPixels(camera.imageFromLocal, boxCorners(box));
      if (pixels.every((pixel) => pixel[2] < NEAR_M)) return;
      context.strokeStyle = color;
      context.lineWidth = width;
      context.setLineDash(dashes);
      if (fill && FRONT.every((i) => pixels[i][2] >= NEAR_M)) {
        context.fillStyle = fill;
        context.beginPath();
        FRONT.forEach((i) => context.lineTo(...pixelOf(pixels[i])));
        context.fill();
      }
      context.beginPath();
      for (const [first, second] of EDGES) {
        const segment = visibleSegment(pixels[first], pixels[second]);
        if (segment) { context.moveTo(...segment[0]); context.lineTo(...segment[1]); }
      }
      context.stroke();
    };
    if (state.show.truths) {
      for (const truth of shownTruths(frame)) {
        if (truth.counted !== 1) continue;
        lines(truth, isMissed(frame, truth) ? "#ff5a70" : "rgba(255,255,255,0.75)", [], 0.9);
      }
    }
    if (state.show.predictions) {
      for (const box of shownPredictions(frame)) {
        lines(box, colors[box.label], isFalse(box) ? [3, 2] : [], 1.1, isFalse(box) ? null : fills[box.label]);
      }
    }
  }

  // ---- view from above
  let bev = null; // the canvas that is drawn to
  function bevScale() { return bev.width / (2 * data.lidarRangeM); }
  function bevPixel([x, y]) {
    return [(data.lidarRangeM - y) * bevScale(), (data.lidarRangeM - x) * bevScale()];
  }
  const footprint = (frame, box) => boxCorners(box).slice(0, 4)
    .map((corner) => bevPixel(transform(frame.egoFromLocal, corner)));

  function path(context, points) {
    context.beginPath();
    points.forEach((point) => context.lineTo(...point));
    context.closePath();
  }

  function drawArrow(context, frame, box, color) {
    if (Math.hypot(box.vx, box.vy) < SLOWEST_ARROW_MPS) return;
    const start = [box.x, box.y, box.z];
    const end = [box.x + box.vx, box.y + box.vy, box.z];
    const [a, b] = [start, end].map((point) => bevPixel(transform(frame.egoFromLocal, point)));
    const angle = Math.atan2(b[1] - a[1], b[0] - a[0]);
    const head = 4 * devicePixelRatio;
    context.strokeStyle = color;
    context.setLineDash([]);
    context.beginPath();
    context.moveTo(...a); context.lineTo(...b);
    for (const turn of [2.6, -2.6]) {
      context.moveTo(...b);
      context.lineTo(b[0] + head * Math.cos(angle + turn), b[1] + head * Math.sin(angle + turn));
    }
    context.stroke();
  }

  function drawGround(context, frame) {
    const size = bev.width;
    context.fillStyle = theme("--bev");
    context.fillRect(0, 0, size, size);
    if (state.show.lidar) {
      context.fillStyle = theme("--lidar");
      const dot = 1.5 * devicePixelRatio;
      for (let i = 0; i < frame.lidar.length; i += 2) {
        const [u, v] = bevPixel([frame.lidar[i] / 100, frame.lidar[i + 1] / 100]);
        context.fillRect(u, v, dot, dot);
      }
    }
    context.strokeStyle = theme("--grid");
    context.fillStyle = theme("--muted");
    context.font = `${11 * devicePixelRatio}px sans-serif`;
    for (const radius of [10, 20, 30, 40, 50]) {
      context.beginPath();
      context.arc(size / 2, size / 2, radius * bevScale(), 0, 2 * Math.PI);
      context.stroke();
      const offset = radius * bevScale() * Math.SQRT1_2;
      if (radius % 20 === 0) context.fillText(`${radius} m`, size / 2 + offset + 3, size / 2 - offset);
    }
    context.fillStyle = theme("--muted");
    path(context, [[3.4, 0.9], [4.2, 0], [3.4, -0.9], [-0.7, -0.9], [-0.7, 0.9]].map(bevPixel));
    context.fill();
  }

  function drawBev(canvas, frame) {
    bev = canvas;
    bev.width = bev.height = Math.round(bev.clientWidth * devicePixelRatio);
    const context = bev.getContext("2d");
    context.lineWidth = devicePixelRatio;
    drawGround(context, frame);
    if (state.show.truths) {
      for (const truth of shownTruths(frame)) {
        const missed = isMissed(frame, truth);
        const color = theme(missed ? "--bad" : truth.counted === 1 ? "--truth" : "--muted");
        context.lineWidth = (missed ? 2.2 : 1.1) * devicePixelRatio;
        context.setLineDash(truth.counted === 1 ? [] : [1.5 * devicePixelRatio, 3 * devicePixelRatio]);
        context.strokeStyle = color;
        path(context, footprint(frame, truth));
        context.stroke();
        if (state.show.velocities && truth.counted === 1) drawArrow(context, frame, truth, color);
      }
    }
    if (state.show.predictions) {
      for (const box of shownPredictions(frame)) {
        context.lineWidth = 1.4 * devicePixelRatio;
        context.setLineDash(isFalse(box) ? [4 * devicePixelRatio, 3 * devicePixelRatio] : []);
        context.strokeStyle = colors[box.label];
        const corners = footprint(frame, box);
        path(context, corners);
        if (!isFalse(box)) { context.fillStyle = fills[box.label]; context.fill(); }
        context.stroke();
        // A line from the middle to the front shows the heading.
        const middle = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
        context.beginPath();
        context.moveTo(...middle(corners[0], corners[2]));
        context.lineTo(...middle(corners[0], corners[3]));
        context.stroke();
        if (state.show.velocities) drawArrow(context, frame, box, colors[box.label]);
      }
    }
  }

  function boxUnder(canvas, frame, [u, v]) {
    bev = canvas;
    const context = bev.getContext("2d");
    const hits = (box) => { path(context, footprint(frame, box)); return context.isPointInPath(u, v); };
    const predictions = state.show.predictions ? shownPredictions(frame) : [];
    const truths = state.show.truths ? shownTruths(frame) : [];
    return { box: predictions.find(hits), truth: truths.find(hits) };
  }

  return { drawCamera, drawBev, boxUnder };
}
