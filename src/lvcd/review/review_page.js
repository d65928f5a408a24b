"use strict";
const cards = [...document.querySelectorAll("article")], buttons = [...document.querySelectorAll("button")];
const input = document.querySelector("input");
const state = { kind: "", find: "" };

function show() {
  for (const card of cards) card.hidden = (state.kind && card.dataset.kind != state.kind)
    || !card.dataset.found.includes(state.find.toLowerCase());
  for (const button of buttons) button.classList.toggle("on", button.dataset.kind == state.kind);
  input.value = state.find;
}

function set(change) {
  Object.assign(state, change);
  history.replaceState(null, "", "#" + new URLSearchParams(state));  // a link to this very view
  show();
}

input.oninput = () => set({ find: input.value });
for (const button of buttons) button.onclick = () => set({ kind: button.dataset.kind });
window.onhashchange = () => { Object.assign(state, Object.fromEntries(new URLSearchParams(location.hash.slice(1)))); show(); };
window.onhashchange();
