"use strict";
// The recordings of the timeline: labels as exact runs of timesteps, unpacked when a recording is first looked at.
const Timeline = (() => {
  const UNLABELLED = -1, ABSENT = -2, NO_FRAME = -3;
  const data = JSON.parse(document.getElementById("timeline-data").textContent);

  const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

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

  return { data, UNLABELLED, ABSENT, NO_FRAME, opened, lastAt, labelAt, columnsOf, nameOf, timeText };
})();
