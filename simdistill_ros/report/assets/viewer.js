// SPDX-License-Identifier: Apache-2.0
// The viewer: state, drawing, controls. All boxes are the submitted ones, in the frame's own axes.
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const element = (id) => document.getElementById(id);
  const state = {
    frame: 0, cut: data.cut, hidden: new Set(), playing: null, pointer: null,
    show: { predictions: true, truths: true, lidar: true, velocities: true },
  };
  const PLAY_MS = 500;
  const SLOWEST_ARROW_MPS = 0.5;
  const WORST_COUNT = 10;
  const colors = data.classes.map(({ color }) => `rgb(${color})`);
  const fills = data.classes.map(({ color }) => `rgba(${color}, 0.35)`);
  const theme = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // ---- frames, unpacked when first looked at
  const unpacked = new Map();
  function frameAt(number) {
    if (!unpacked.has(number)) {
      const raw = data.frames[number];
      unpacked.set(number, {
        ...raw,
        predictions: unpackTable(raw.predictions, data.predictionColumns),
        truths: unpackTable(raw.truths, data.truthColumns),
        lidar: new Int16Array(bytesFromBase64(raw.lidar).buffer),
      });
    }
    return unpacked.get(number);
  }

  const pictures = new Map();
  function picturesOf(number) {
    if (!pictures.has(number)) {
      const texts = JSON.parse(element(`pictures-${number}`).textContent);
      pictures.set(number, Promise.all(texts.map((text) => new Promise((resolve) => {
        const image = new Image();
        image.onload = () => resolve(image);
        image.src = `data:image/jpeg;base64,${text}`;
      }))));
    }
    return pictures.get(number);
  }

  // ---- what is shown, what was found
  const shownPredictions = (frame) => frame.predictions.filter(
    (box) => box.score >= state.cut && !state.hidden.has(box.label));
  const shownTruths = (frame) => frame.truths.filter((box) => !state.hidden.has(box.label));
  const isFalse = (box) => box.counted === 1 && box.partner < 0;
  const isMissed = (frame, truth) => truth.counted === 1
    && (truth.partner < 0 || frame.predictions[truth.partner].score < state.cut);

  function countsOf(number) {
    const frame = frameAt(number);
    const truths = shownTruths(frame).filter((truth) => truth.counted === 1);
    const missed = truths.filter((truth) => isMissed(frame, truth)).length;
    const wrong = shownPredictions(frame).filter(isFalse).length;
    return { found: truths.length - missed, missed, false: wrong, mistakes: missed + wrong };
  }

  // ---- cameras
  const canvases = [];
  function makeCameras() {
    data.frames[0].cameras.forEach((camera, index) => {
      const figure = document.createElement("figure");
      const canvas = document.createElement("canvas");
      const caption = document.createElement("figcaption");
      caption.textContent = camera.name.replaceAll("_", " ");
      figure.append(canvas, caption);
      figure.addEventListener("click", () => enlarge(figure.classList.contains("large") ? -1 : index));
      element("cameras").append(figure);
      canvases.push(canvas);
    });
  }

  function enlarge(index) {
    element("cameras").classList.toggle("one", index >= 0);
    canvases.forEach((canvas, i) => canvas.parentElement.classList.toggle("large", i === index));
    draw();
  }

  function switchLayout() {
    const high = document.querySelector(".stage").classList.toggle("high");
    element("layout").setAttribute("aria-pressed", String(high));
    draw();
  }

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
  const bev = element("bev");
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

  function drawBev(frame) {
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

  function boxUnder(frame, [u, v]) {
    const context = bev.getContext("2d");
    const hits = (box) => { path(context, footprint(frame, box)); return context.isPointInPath(u, v); };
    const predictions = state.show.predictions ? shownPredictions(frame) : [];
    const truths = state.show.truths ? shownTruths(frame) : [];
    return { box: predictions.find(hits), truth: truths.find(hits) };
  }

  function describe(frame, { box, truth }) {
    const line = (what, row) => `${what} ${data.classes[row.label].name.replaceAll("_", " ")}, `
      + `${row.distance.toFixed(1)} m, ${Math.hypot(row.vx, row.vy).toFixed(1)} m/s\n`
      + `   ${row.length.toFixed(1)} × ${row.width.toFixed(1)} × ${row.height.toFixed(1)} m`;
    const texts = [];
    if (box) {
      const verdict = box.counted !== 1 ? "not scored" : isFalse(box) ? "false" : "found";
      texts.push(`${line("▪", box)}, score ${box.score.toFixed(3)}, ${verdict}`);
    }
    if (truth) {
      const verdict = truth.counted !== 1 ? "not scored" : isMissed(frame, truth) ? "missed" : "found";
      const levels = ["", "0-40 %", "40-60 %", "60-80 %", "80-100 %"];
      texts.push(`${line("▫ true", truth)}, visible ${levels[truth.visibility] || "?"}, ${verdict}`);
    }
    return texts.join("\n");
  }

  function showTip() {
    const tip = element("tip");
    const frame = frameAt(state.frame);
    const found = state.pointer ? boxUnder(frame, state.pointer.map((p) => p * devicePixelRatio)) : {};
    tip.hidden = !found.box && !found.truth;
    if (tip.hidden) return;
    tip.textContent = describe(frame, found);
    tip.style.top = `${state.pointer[1] + 14}px`;
    tip.style.left = `${Math.min(state.pointer[0] + 12, Math.max(0, bev.clientWidth - tip.offsetWidth))}px`;
  }

  // ---- everything
  async function draw() {
    const number = state.frame;
    const frame = frameAt(number);
    element("frame").value = number;
    const latency = frame.latencyMs === null ? "" : `, ${frame.latencyMs.toFixed(0)} ms`;
    element("frame-name").textContent = `${frame.scene}  ${number + 1} / ${data.frames.length}`
      + `${frame.answered ? latency : ", NOT ANSWERED"}, spread ${frame.spreadMs.toFixed(0)} ms`;
    element("score").value = state.cut;
    element("score-value").textContent = state.cut.toFixed(3);
    const counts = countsOf(number);
    element("counts").textContent = `${counts.found} found, ${counts.missed} missed, ${counts.false} false`;
    drawBev(frame);
    showTip();
    for (const button of element("worst").children) {
      button.classList.toggle("current", Number(button.dataset.frame) === number);
    }
    const images = await picturesOf(number);
    if (number !== state.frame) return;
    frame.cameras.forEach((camera, index) => drawCamera(canvases[index], camera, images[index], frame));
    document.documentElement.dataset.drawn = number;
  }

  function worstFrames() {
    const by = element("worst-by").value;
    return data.frames.map((_, number) => ({ number, ...countsOf(number) }))
      .sort((a, b) => b[by] - a[by] || a.number - b.number)
      .filter((counts) => counts[by] > 0).slice(0, WORST_COUNT);
  }

  function listWorst() {
    element("worst").replaceChildren(...worstFrames().map((counts) => {
      const button = document.createElement("button");
      button.dataset.frame = counts.number;
      button.textContent = `#${counts.number + 1}: ${counts.missed} missed, ${counts.false} false`;
      button.addEventListener("click", () => goTo(counts.number));
      return button;
    }));
    if (!element("worst").children.length) element("worst").textContent = "none: nothing missed, nothing false";
  }

  let waiting = null;
  function refilter() {
    draw();
    clearTimeout(waiting);
    waiting = setTimeout(() => { listWorst(); draw(); }, 120);
  }

  function goTo(number) {
    state.frame = Math.max(0, Math.min(data.frames.length - 1, number));
    return draw();
  }

  function setCut(cut) {
    state.cut = Math.max(0, Math.min(1, cut));
    refilter();
  }

  function play(on) {
    clearInterval(state.playing);
    state.playing = on
      ? setInterval(() => goTo((state.frame + 1) % data.frames.length), PLAY_MS) : null;
    element("play").textContent = on ? "❚❚ pause" : "▶ play";
  }

  function nextWorst() {
    const numbers = worstFrames().map((counts) => counts.number);
    if (numbers.length) goTo(numbers[(numbers.indexOf(state.frame) + 1) % numbers.length]);
  }

  function makeClassButtons() {
    const present = new Set();
    data.frames.forEach((_, number) => {
      const frame = frameAt(number);
      [...frame.predictions, ...frame.truths].forEach((box) => present.add(box.label));
    });
    const all = document.createElement("button");
    all.textContent = "all";
    all.id = "all-classes";
    all.addEventListener("click", () => {
      const hide = state.hidden.size === 0;
      state.hidden = new Set(hide ? present : []);
      update();
    });
    const buttons = data.classes.map(({ name }, label) => {
      const button = document.createElement("button");
      button.dataset.class = name;
      const dot = document.createElement("i");
      dot.className = "dot";
      dot.style.background = colors[label];
      button.append(dot, name.replaceAll("_", " "));
      button.disabled = !present.has(label);
      button.addEventListener("click", () => {
        if (!state.hidden.delete(label)) state.hidden.add(label);
        update();
      });
      return button;
    });
    const update = () => {
      buttons.forEach((button, label) => button.setAttribute("aria-pressed",
        String(present.has(label) && !state.hidden.has(label))));
      refilter();
    };
    element("classes").append(all, ...buttons);
    buttons.forEach((button, label) => button.setAttribute("aria-pressed", String(present.has(label))));
  }

  const keys = {
    ArrowLeft: () => goTo(state.frame - 1),
    ArrowRight: () => goTo(state.frame + 1),
    Home: () => goTo(0),
    End: () => goTo(data.frames.length - 1),
    " ": () => play(!state.playing),
    "[": () => setCut(state.cut - 0.01),
    "]": () => setCut(state.cut + 0.01),
    w: nextWorst,
    b: switchLayout,
    Escape: () => enlarge(-1),
  };

  function onKey(event) {
    const target = event.target;
    const types = target.tagName === "SELECT" || (target.tagName === "INPUT" && target.type !== "checkbox");
    const presses = event.key === " " && ["BUTTON", "INPUT", "SUMMARY"].includes(target.tagName);
    if (event.ctrlKey || event.metaKey || event.altKey || types || presses || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }

  function start() {
    if (!data.frames.length) return;
    element("frame").max = data.frames.length - 1;
    makeCameras();
    makeClassButtons();
    element("frame").addEventListener("input", (event) => goTo(Number(event.target.value)));
    element("score").addEventListener("input", (event) => setCut(Number(event.target.value)));
    element("previous").addEventListener("click", keys.ArrowLeft);
    element("next").addEventListener("click", keys.ArrowRight);
    element("play").addEventListener("click", keys[" "]);
    element("layout").addEventListener("click", switchLayout);
    element("worst-by").addEventListener("change", () => { listWorst(); draw(); });
    for (const what of Object.keys(state.show)) {
      element(`show-${what}`).addEventListener("change", (event) => {
        state.show[what] = event.target.checked;
        draw();
      });
    }
    bev.addEventListener("pointermove", (event) => {
      state.pointer = [event.offsetX, event.offsetY];
      showTip();
    });
    bev.addEventListener("pointerleave", () => { state.pointer = null; showTip(); });
    document.addEventListener("keydown", onKey);
    window.addEventListener("resize", draw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    listWorst();
    draw();
  }

  // For tests and for a reader's console.
  window.report = {
    frameCount: data.frames.length, state, goTo, setCut, countsOf, frameAt, shownPredictions, worstFrames,
    pixelsOf: (number, camera, box) => homogeneousPixels(
      frameAt(number).cameras[camera].imageFromLocal, boxCorners(frameAt(number).predictions[box])),
  };
  start();
})();
