"use strict";
const main = document.querySelector("main"), select = document.querySelector("select");
const input = document.querySelector("input"), buttons = [...document.querySelectorAll("button")];
const clips = [...main.children];  // flagged first, as they were written
const state = { sort: "flags", flag: "", find: "" };

function show() {
  const number = clip => Number(clip.dataset[state.sort] ?? (state.sort == "pairing" ? Infinity : -Infinity));
  const order = [...clips];
  if (state.sort == "name") order.sort((a, b) => a.dataset.name < b.dataset.name ? -1 : 1);
  else if (state.sort == "pairing") order.sort((a, b) => number(a) - number(b));
  else if (state.sort != "flags") order.sort((a, b) => number(b) - number(a));
  for (const clip of order) {
    const flags = clip.dataset.flags.split(" ").filter(Boolean);
    clip.hidden = (state.flag == "sound" ? flags.length > 0 : state.flag && !flags.includes(state.flag))
      || !clip.dataset.found.includes(state.find.toLowerCase());
  }
  main.append(...order);
  select.value = state.sort;
  input.value = state.find;
  for (const button of buttons) button.classList.toggle("on", button.dataset.flag == state.flag);
}

function set(change) {
  Object.assign(state, change);
  history.replaceState(null, "", "#" + new URLSearchParams(state));  // a link to this very view
  show();
}

select.onchange = () => set({ sort: select.value });
input.oninput = () => set({ find: input.value });
for (const button of buttons) button.onclick = () => set({ flag: button.dataset.flag });
window.onhashchange = () => { Object.assign(state, Object.fromEntries(new URLSearchParams(location.hash.slice(1)))); show(); };
window.onhashchange();
