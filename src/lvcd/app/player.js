// The player: each drawing beside what was painted of it. Space plays, arrow keys step; a click on the painted picture,
// or Enter at its cross, chooses a region.
const find = (name) => element.querySelector(`[data-part=${name}]`);
const [drawn, painted, cross, where, range, play, stage] =
  ["drawn", "painted", "cross", "where", "range", "play", "stage"].map(find);
let place = props.value?.place ?? 0, wanted = place, timer = null, at = [0.5, 0.5];
const frames = () => props.value?.frames || [];
const sharpen = (picture) => { // enlarged pixels stay pixels; what is made smaller is smoothed
  picture.style.imageRendering = picture.clientWidth > picture.naturalWidth ? "pixelated" : "auto";
};
[drawn, painted].forEach((picture) => picture.addEventListener("load", () => sharpen(picture)));
const put = (picture, source) => {
  picture.hidden = !source;
  if (source && picture.getAttribute("src") !== source) picture.src = source;
};
const show = () => {
  const all = frames();
  place = Math.max(0, Math.min(place, all.length - 1));
  const frame = all[place];
  stage.hidden = !frame;
  if (!frame) return;
  range.max = all.length - 1;
  range.value = place;
  put(drawn, frame.drawing);
  put(painted, frame.painted);
  stage.style.setProperty("--aspect", props.value.width / props.value.height);
  drawn.alt = `drawing ${frame.label}`;
  painted.alt = frame.painted ? `drawing ${frame.label}, painted` : "";
  const words = `drawing ${frame.label}, ${place + 1} of ${all.length}${frame.painted ? "" : ", not painted yet"}`;
  where.textContent = words;
  range.setAttribute("aria-valuetext", words);
  const mark = props.value.mark;
  const [x, y] = mark && mark.place === place ? [mark.x, mark.y] : at;
  cross.style.left = `${100 * x}%`;
  cross.style.top = `${100 * y}%`;
  cross.classList.toggle("chosen", Boolean(mark && mark.place === place));
};
const go = (to) => {
  const count = frames().length;
  if (!count) return;
  place = ((to % count) + count) % count;
  show();
};
const stop = () => {
  clearInterval(timer);
  timer = null;
  play.textContent = "Play";
};
const toggle = () => {
  if (timer) return stop();
  play.textContent = "Stop";
  timer = setInterval(() => (element.isConnected ? go(place + 1) : stop()), 1000 / (props.value?.fps || 12));
};
const pick = () => {
  stop();
  trigger("select", { place, x: at[0], y: at[1] });
};
play.addEventListener("click", toggle);
find("back").addEventListener("click", () => (stop(), go(place - 1)));
find("on").addEventListener("click", () => (stop(), go(place + 1)));
range.addEventListener("input", () => (stop(), go(Number(range.value))));
find("sides").addEventListener("change", (event) => stage.classList.toggle("alone", !event.target.checked));
const target = find("target");
target.addEventListener("click", (event) => {
  const box = painted.getBoundingClientRect();
  at = [(event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height];
  if (at.every((part) => part >= 0 && part < 1)) pick();
});
element.addEventListener("keydown", (event) => {
  if (event.target === target && event.key.startsWith("Arrow")) {
    const step = event.shiftKey ? 0.002 : 0.02;
    const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    at = [at[0] + x * step, at[1] + y * step].map((part) => Math.min(0.999, Math.max(0, part)));
    cross.style.left = `${100 * at[0]}%`;
    cross.style.top = `${100 * at[1]}%`;
    cross.classList.remove("chosen");
  } else if (event.target === target && event.key === "Enter") pick();
  else if (event.key === " " && event.target.tagName !== "BUTTON" && event.target.type !== "checkbox") toggle();
  else return;
  event.preventDefault();
});
watch("value", () => {
  const asked = props.value?.place;
  if (asked !== undefined && asked !== wanted) place = wanted = asked;
  show();
});
show();
