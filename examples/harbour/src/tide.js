// Water level from the four largest tidal constituents (metres, degrees per hour, degrees).
const CONSTITUENTS = [
  { name: "M2", amplitude: 1.62, speed: 28.9841042, phase: 118 },
  { name: "S2", amplitude: 0.54, speed: 30.0, phase: 162 },
  { name: "K1", amplitude: 0.12, speed: 15.0410686, phase: 340 },
  { name: "O1", amplitude: 0.09, speed: 13.9430356, phase: 205 },
];
const MEAN_LEVEL = 2.6;
const HOUR = 3_600_000;
const EPOCH = Date.UTC(2000, 0, 1);

/** The water level in metres above chart datum at a time in milliseconds. */
export function level(time) {
  const hours = (time - EPOCH) / HOUR;
  return CONSTITUENTS.reduce(
    (sum, { amplitude, speed, phase }) => sum + amplitude * Math.cos(((speed * hours - phase) * Math.PI) / 180),
    MEAN_LEVEL,
  );
}

/** High and low waters between two times, to the minute. */
export function turns(from, to) {
  const minute = HOUR / 60;
  const found = [];
  for (let time = from; time < to; time += minute) {
    const [before, here, after] = [level(time - minute), level(time), level(time + minute)];
    if (here >= before && here > after) found.push({ time, level: here, high: true });
    if (here <= before && here < after) found.push({ time, level: here, high: false });
  }
  return found;
}
