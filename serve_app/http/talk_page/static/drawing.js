// Canvases: levels as they come, the waveform of an answer, a line of the last minutes.

const BAR = 3; // CSS pixels
const GAP = 2;
const BESIDE = 50; // from the middle of a meter to its first bar
const REMEMBERED = 64; // levels
const LATE_MS = 150; // a level that has not come by then is silence
const EVERY_MS = 40;

export const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

/** Draws bars of 0 to 1 from left to right; the first `part` of them in the accent colour. */
export function drawWaveform(canvas, peaks, part) {
  const { pen, width, height, colour } = blank(canvas);
  const count = Math.max(1, Math.floor(width / (BAR + GAP)));
  const loudest = Math.max(0.1, ...peaks);
  for (let i = 0; i < Math.min(count, peaks.length); i++) {
    const from = Math.floor((i * peaks.length) / count);
    const to = Math.max(from + 1, Math.floor(((i + 1) * peaks.length) / count));
    const peak = peaks.length <= count ? peaks[i] : Math.max(...peaks.slice(from, to));
    const isPlayed = i < part * Math.min(count, peaks.length);
    pen.fillStyle = colour(isPlayed ? "--accent" : "--bar");
    bar(pen, i * (BAR + GAP), height / 2, (peak / loudest) * height);
  }
}

/** Draws values over time as a line, the newest at the right edge. */
export function drawLine(canvas, values, most) {
  const { pen, width, height, colour } = blank(canvas);
  const top = Math.max(4, ...values);
  const step = width / (most - 1);
  const x = (i) => width - (values.length - 1 - i) * step;
  const y = (value) => height - 2 - (value / top) * (height - 4);
  pen.beginPath();
  values.forEach((value, i) => pen.lineTo(x(i), y(value)));
  pen.strokeStyle = colour("--accent");
  pen.lineWidth = 1.5;
  pen.stroke();
}

/**
 * Levels that flow outwards from the middle: one source to the left, the other to the right. With
 * reduced motion one bar on each side stands still and changes its length.
 */
export class Meter {
  #canvas;
  #levels = { left: [], right: [] };
  #silence = { left: null, right: null }; // timers
  #isDirty = false;

  constructor(canvas) {
    this.#canvas = canvas;
  }

  /** Takes a level (root mean square, 0 to 1) of one side. */
  add(side, level) {
    const shown = Math.min(1, Math.sqrt(level) * 1.6);
    this.#levels[side] = [shown, ...this.#levels[side]].slice(0, REMEMBERED);
    this.#fallSilent(side, level ? LATE_MS : EVERY_MS);
    this.#drawSoon();
  }

  /** Lets the levels run out where no more come. */
  #fallSilent(side, afterMs) {
    clearTimeout(this.#silence[side]);
    if (this.#levels[side].every((level) => level === 0)) return;
    this.#silence[side] = setTimeout(() => this.add(side, 0), afterMs);
  }

  #drawSoon() {
    if (this.#isDirty) return;
    this.#isDirty = true;
    const draw = () => this.#draw();
    if (reducedMotion.matches) setTimeout(draw, 250);
    else requestAnimationFrame(draw);
  }

  #draw() {
    this.#isDirty = false;
    const { pen, width, height, colour } = blank(this.#canvas);
    for (const [side, sign] of Object.entries({ left: -1, right: 1 })) {
      pen.fillStyle = colour(side === "left" ? "--accent" : "--bar");
      const levels = this.#levels[side];
      if (reducedMotion.matches) stillBar(pen, sign, levels[0] ?? 0, width, height);
      else flowingBars(pen, sign, levels, width, height);
    }
  }
}

function flowingBars(pen, sign, levels, width, height) {
  levels.forEach((level, i) => {
    const x = width / 2 + sign * (BESIDE + i * (BAR + GAP)) - (sign < 0 ? BAR : 0);
    if (x > 0 && x < width) bar(pen, x, height / 2, level * height * (1 - i / 70));
  });
}

function stillBar(pen, sign, level, width, height) {
  const length = level * (width / 2 - BESIDE);
  pen.fillRect(width / 2 + sign * BESIDE - (sign < 0 ? length : 0), height / 2 - 2, length, 4);
}

function bar(pen, x, middle, height) {
  const shown = Math.max(2, height);
  pen.beginPath();
  pen.roundRect(x, middle - shown / 2, BAR, shown, BAR / 2);
  pen.fill();
}

function blank(canvas) {
  const scale = devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  const wanted = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== wanted[0] || canvas.height !== wanted[1]) {
    [canvas.width, canvas.height] = wanted;
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const style = getComputedStyle(canvas);
  return { pen, width, height, colour: (name) => style.getPropertyValue(name).trim() };
}
