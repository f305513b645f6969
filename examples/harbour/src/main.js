import "./style.css";
import { level, turns } from "./tide.js";

const WIDTH = 960;
const HEIGHT = 320;
const HIGHEST = 5.4;
const DAY = 86_400_000;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const metres = (value) => `${value.toFixed(1)} m`;
const element = (id) => document.getElementById(id);

function startOfToday() {
  return new Date().setHours(0, 0, 0, 0);
}

function x(time) {
  return ((time - startOfToday()) / DAY) * WIDTH;
}

function y(value) {
  return HEIGHT - (value / HIGHEST) * HEIGHT;
}

function curve(from) {
  const points = Array.from({ length: 145 }, (_, step) => from + (step * DAY) / 144);
  return points.map((time) => `${x(time).toFixed(1)},${y(level(time)).toFixed(1)}`).join(" L");
}

function draw() {
  const from = startOfToday();
  const line = curve(from);
  element("curve").innerHTML = `
    <defs>
      <linearGradient id="water" x1="0" y1="0" x2="0" y2="1">
        <stop offset="0" stop-color="var(--shallow)" />
        <stop offset="1" stop-color="var(--deep)" />
      </linearGradient>
    </defs>
    <path d="M${line} L${WIDTH},${HEIGHT} L0,${HEIGHT} Z" fill="url(#water)" />
    <path d="M${line}" fill="none" stroke="var(--foam)" stroke-width="2" vector-effect="non-scaling-stroke" />
    <line id="mark" y1="0" y2="${HEIGHT}" stroke="var(--sun)" stroke-width="2" stroke-dasharray="4 5"
      vector-effect="non-scaling-stroke" />`;
  element("hours").innerHTML = [0, 6, 12, 18, 24].map((hour) => `<span>${String(hour).padStart(2, "0")}</span>`).join("");
  element("turns").innerHTML = turns(from, from + DAY)
    .map(
      ({ time, level: height, high }) =>
        `<li class="${high ? "high" : "low"}"><span>${high ? "High" : "Low"} water</span>
         <time datetime="${new Date(time).toISOString()}">${clock.format(time)}</time><b>${metres(height)}</b></li>`,
    )
    .join("");
}

function tick() {
  const now = Date.now();
  const rising = level(now + 60_000) > level(now);
  const [next] = turns(now, now + DAY);
  element("now").textContent = `${metres(level(now))} and ${rising ? "rising" : "falling"}`;
  element("next").textContent = `${next.high ? "High" : "Low"} water at ${clock.format(next.time)}, ${metres(next.level)}`;
  const mark = element("mark");
  mark.setAttribute("x1", x(now));
  mark.setAttribute("x2", x(now));
}

draw();
tick();
setInterval(tick, 10_000);
