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
  const WORST_COUNT = 10;
  const colors = data.classes.map(({ color }) => `rgb(${color})`);

  const bev = element("bev");

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
  const isMissed = (frame, truth) => isMissedAt(frame, truth, state.cut);

  function countsOf(number) {
    const frame = frameAt(number);
    const truths = shownTruths(frame).filter((truth) => truth.counted === 1);
    const missed = truths.filter((truth) => isMissed(frame, truth)).length;
    const wrong = shownPredictions(frame).filter(isFalse).length;
    return { found: truths.length - missed, missed, false: wrong, mistakes: missed + wrong };
  }

  const { drawCamera, drawBev, boxUnder } = makeDrawing(data, state, shownPredictions, shownTruths);

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
    const found = state.pointer ? boxUnder(bev, frame, state.pointer.map((p) => p * devicePixelRatio)) : {};
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
    drawBev(bev, frame);
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

  function showConfusion() {
    for (const chart of document.querySelectorAll("[data-confusion]")) {
      chart.hidden = chart.dataset.confusion !== element("confusion-of").value;
    }
  }

  function start() {
    element("confusion-of").addEventListener("change", showConfusion);
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
    goToLinked();
    window.addEventListener("hashchange", goToLinked);
  }

  // Pages that compare runs link to a frame of this one: report.html#frame=<sample token>.
  function goToLinked() {
    const token = new URLSearchParams(location.hash.slice(1)).get("frame");
    const number = data.frames.findIndex((frame) => frame.token === token);
    if (number >= 0) element("viewer").scrollIntoView();
    if (number >= 0 || !document.documentElement.dataset.drawn) goTo(number >= 0 ? number : state.frame);
  }

  // For tests and for a reader's console.
  window.report = {
    frameCount: data.frames.length, state, goTo, setCut, countsOf, frameAt, shownPredictions, worstFrames,
    pixelsOf: (number, camera, box) => homogeneousPixels(
      frameAt(number).cameras[camera].imageFromLocal, boxCorners(frameAt(number).predictions[box])),
  };
  start();
})();
