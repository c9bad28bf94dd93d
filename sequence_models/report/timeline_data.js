"use strict";
// The recordings of the timeline: labels as exact runs of timesteps, unpacked when a recording is first looked at.
const Timeline = (() => {
  const UNLABELLED = -1, ABSENT = -2, NO_FRAME = -3;
  const data = JSON.parse(document.getElementById("timeline-data").textContent);

  const COARSER = 16;  // steps of one level of detail that are one of the next

  function bytesOf(text) {
    const letters = atob(text), bytes = new Uint8Array(letters.length);
    for (let k = 0; k < bytes.length; k++) bytes[k] = letters.charCodeAt(k);
    return bytes;
  }

  // Lowest and highest probability of what was predicted: of every sample, then of 16, 256, ... of them.
  function levelsOf(recording) {
    const classes = data.classes.length, runs = recording.lanes[0].predicted, count = recording.shares.length / classes;
    const said = new Uint8Array(count), levels = [{ low: said, high: said }];
    for (let k = 0, run = 0; k < count; k++) {
      while (runs.stops[run] <= k * data.every) run++;
      said[k] = recording.shares[k * classes + runs.labels[run]];
    }
    for (let { length } = said; length > COARSER; length = Math.ceil(length / COARSER)) {
      const finer = levels[levels.length - 1], size = Math.ceil(length / COARSER);
      const low = new Uint8Array(size).fill(255), high = new Uint8Array(size);
      for (let k = 0; k < length; k++) {
        const into = Math.floor(k / COARSER);
        if (finer.low[k] < low[into]) low[into] = finer.low[k];
        if (finer.high[k] > high[into]) high[into] = finer.high[k];
      }
      levels.push({ low, high });
    }
    return levels;
  }

  function opened(number) {
    const recording = data.recordings[number];
    if (recording.starts) return recording;
    const packed = recording.times, count = packed.count, starts = new Float64Array(count), ends = new Float64Array(count);
    const whole = packed.milliseconds ? new DataView(bytesOf(packed.milliseconds).buffer) : null;
    for (let k = 0; k < count; k++) starts[k] = whole ? whole.getInt32(4 * k, true) / 1000 : packed.start + k * packed.step;
    for (let k = 0; k < count; k++) {
      const held = starts[k] + (k + 1 < count ? data.hold : 1) * recording.step;
      ends[k] = k + 1 < count ? Math.min(starts[k + 1], held) : held;
    }
    recording.shares = bytesOf(recording.probabilities);
    Object.assign(recording, { starts, ends, first: starts[0], last: ends[count - 1] });
    for (const lane of recording.lanes) {
      for (const runs of [lane.truth, lane.predicted]) runs.stops = [...runs.starts.slice(1), count];
      lane.wrong = disagreement(lane);
    }
    recording.wrong = merged(recording.lanes.map((lane) => lane.wrong));
    recording.levels = data.multi_label ? [] : levelsOf(recording);
    return recording;
  }

  // Half-open stretches of timesteps whose true label is known and another one is predicted.
  function disagreement(lane) {
    const starts = [], stops = [];
    let t = 0, p = 0;
    while (t < lane.truth.starts.length && p < lane.predicted.starts.length) {
      const start = Math.max(lane.truth.starts[t], lane.predicted.starts[p]);
      const stop = Math.min(lane.truth.stops[t], lane.predicted.stops[p]);
      const truth = lane.truth.labels[t];
      if (truth !== UNLABELLED && truth !== lane.predicted.labels[p]) {
        if (stops.length && stops[stops.length - 1] === start) stops[stops.length - 1] = stop;
        else { starts.push(start); stops.push(stop); }
      }
      if (lane.truth.stops[t] === stop) t++;
      if (lane.predicted.stops[p] === stop) p++;
    }
    return { starts, stops };
  }

  function merged(parts) {
    const all = parts.flatMap((part) => part.starts.map((start, k) => [start, part.stops[k]])).sort((a, b) => a[0] - b[0]);
    const starts = [], stops = [];
    for (const [start, stop] of all) {
      const last = stops.length - 1;
      if (last >= 0 && start <= stops[last]) stops[last] = Math.max(stops[last], stop);
      else { starts.push(start); stops.push(stop); }
    }
    return { starts, stops };
  }

  // Position of the last value that is not above x, 0 if there is none.
  function lastAt(values, x) {
    let low = 0, high = values.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (values[middle] <= x) low = middle + 1; else high = middle;
    }
    return Math.max(0, low - 1);
  }

  const labelAt = (runs, step) => runs.labels[lastAt(runs.starts, step)];

  function nameOf(lane, label) {
    if (label === UNLABELLED) return "unlabelled";
    if (label === ABSENT) return `no ${lane.name}`;
    return label === NO_FRAME ? "no frames" : data.classes[label];
  }

  function timeText(time, digits = 2) {
    if (data.unit !== "s") return `${Math.round(time)}`;
    const seconds = Math.round(time * 10 ** digits) / 10 ** digits;
    if (seconds < 60) return `${seconds.toFixed(digits)} s`;
    const minutes = Math.floor(seconds / 60), rest = (seconds % 60).toFixed(digits);
    return `${minutes}:${rest.padStart(digits ? 3 + digits : 2, "0")}`;
  }

  // For each pixel column the label of the run that covers most of it.
  function columnsOf(recording, runs, start, end, count) {
    const labels = new Int16Array(count).fill(NO_FRAME), most = new Float64Array(count), scale = count / (end - start);
    const step = lastAt(recording.starts, start);
    for (let r = lastAt(runs.starts, step); r < runs.starts.length; r++) {
      const left = (recording.starts[runs.starts[r]] - start) * scale, right = (recording.ends[runs.stops[r] - 1] - start) * scale;
      if (left >= count) break;
      for (let column = Math.max(0, Math.floor(left)); column < Math.min(count, Math.ceil(right)); column++) {
        const covered = Math.min(right, column + 1) - Math.max(left, column);
        if (covered > most[column]) { most[column] = covered; labels[column] = runs.labels ? runs.labels[r] : 0; }
      }
    }
    return labels;
  }

  return { data, UNLABELLED, ABSENT, NO_FRAME, COARSER, opened, lastAt, labelAt, columnsOf, nameOf, timeText };
})();
