"use strict";
// Text of the data is only ever set as textContent: it is not trusted.
const { boards, files } = JSON.parse(document.getElementById("data").textContent);
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const WORST = 10;

function make(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties))
    if (key in node) node[key] = value; else node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// Smaller is better; where none is, nearer to 1.
const loss = (value, better) => better == null ? Math.abs(value - 1) : better ? -value : value;

// ------------------------------------------------------------------------------------------------------------ tables

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button").onclick = () => {
    const word = head.textContent;
    const first = column == 0 || !word.includes("↑") ? "ascending" : "descending";  // the best first
    const order = head.getAttribute("aria-sort") != first ? first : first == "ascending" ? "descending" : "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const value = row => {
      const text = row.cells[column].dataset.value;
      if (text === undefined) return null;
      return column == 0 ? text : word.includes("→ 1") ? Math.abs(text - 1) : Number(text);
    };
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === null || y === null) return (x === null) - (y === null);  // no value: always last
      return (x < y ? -1 : x > y ? 1 : 0) * (order == "ascending" ? 1 : -1);
    });
    body.append(...rows);
  });
}

// ------------------------------------------------------------------------------------------------- clips side by side

// Movies of one clip, all at the same frame. The first one leads, the others are brought to where it is.
class Player {
  constructor(place) {
    this.button = make("button", { type: "button", onclick: () => this.playing ? this.pause() : this.play() });
    this.range = make("input", { type: "range", min: 0, step: 1, oninput: () => this.pause(Number(this.range.value)) });
    this.range.setAttribute("aria-label", "frame");
    this.position = make("output");
    this.speed = make("select", { onchange: () => this.setSpeed() },
      ...[1, 0.5, 0.25].map(rate => make("option", { value: rate, textContent: `${rate} x` })));
    this.speed.setAttribute("aria-label", "speed");
    place.append(this.button, this.range, this.position, this.speed);
    this.movies = [];
    this.playing = !still;
    this.frame = 0;
  }

  load(movies, frames, fps) {
    this.movies = movies;
    [this.frames, this.fps, this.frame] = [frames, fps, 0];
    this.range.max = frames - 1;
    for (const control of [this.button, this.range, this.speed]) control.disabled = !movies.length;
    this.position.textContent = "";
    if (!movies.length) { this.label(); return; }
    this.setSpeed();
    movies[0].onended = () => { if (this.playing && this.movies === movies) { this.seek(0); this.start(); } };
    const ready = movies.map(movie => movie.readyState >= 2 ? null : new Promise(go => movie.onloadeddata = movie.onerror = go));
    Promise.all(ready).then(() => { if (this.movies === movies) { this.seek(0); this.playing ? this.play() : this.label(); } });
  }

  play() { this.playing = true; this.label(); this.start(); requestAnimationFrame(() => this.follow()); }
  start() { for (const movie of this.movies) movie.play().catch(() => {}); }

  pause(frame = this.now()) {
    this.playing = false;
    for (const movie of this.movies) movie.pause();
    this.seek(frame);
    this.label();
  }

  setSpeed() { for (const movie of this.movies) movie.playbackRate = Number(this.speed.value); }
  now() { return Math.min(this.frames - 1, Math.floor(this.movies[0].currentTime * this.fps + 1e-3)); }

  // To the middle of a frame, so that rounding shows no other.
  seek(frame) {
    this.frame = frame;
    for (const movie of this.movies) movie.currentTime = (frame + 0.5) / this.fps;
    this.showFrame();
  }

  follow() {
    if (!this.playing || !this.movies.length) return;
    const lead = this.movies[0];
    for (const movie of this.movies.slice(1)) {
      const behind = Math.abs(movie.currentTime - lead.currentTime);
      if (behind > 0.75 / this.fps && !movie.seeking && !lead.ended) movie.currentTime = lead.currentTime;
      if (movie.paused && !movie.ended && !lead.paused) movie.play().catch(() => {});
    }
    if (this.now() != this.frame) { this.frame = this.now(); this.showFrame(); }
    requestAnimationFrame(() => this.follow());
  }

  showFrame() { this.range.value = this.frame; this.position.textContent = `frame ${this.frame + 1} / ${this.frames}`; }
  label() { this.button.textContent = this.playing ? "Pause" : "Play"; }
}

class Viewer {
  constructor(place, board) {
    this.board = board;
    this.state = { metric: board.main, by: board.methods[0].id, clip: null, all: board.clips.length <= WORST };
    this.title = make("h3");
    this.metric = make("select", { onchange: () => this.set({ metric: this.metric.value, clip: null }) },
      ...board.columns.map(c => make("option", { value: c.name, textContent: `${c.name} ${c.arrow}` })));
    const step = by => () => {
      const order = this.order.filter(clip => clip.media);
      const at = order.findIndex(clip => clip.key == this.state.clip);
      if (order.length) this.set({ clip: order[(at + by + order.length) % order.length].key });
    };
    this.tiles = make("div", { className: "tiles" });
    this.controls = make("div", { className: "bar play" });
    this.player = new Player(this.controls);
    this.few = make("button", { type: "button", onclick: () => this.set({ all: false }) });
    this.many = make("button", { type: "button", textContent: `all ${board.clips.length} clips`, onclick: () => this.set({ all: true }) });
    this.scores = make("div", { className: "scroll", role: "region" });
    this.scores.setAttribute("aria-label", "scores of clips");
    this.scores.onkeydown = event => this.walk(event);
    place.append(
      make("div", { className: "bar" }, this.title,
        make("button", { type: "button", textContent: "← previous", onclick: step(-1) }),
        make("button", { type: "button", textContent: "next →", onclick: step(1) })),
      this.tiles, this.controls,
      make("div", { className: "scores" },
        make("div", { className: "bar" }, make("label", {}, "scores by ", this.metric), this.few, this.many,
          make("span", { className: "about", textContent: "A score shows its clip. Faint names: not in this page." })),
        this.scores));
    this.show();
  }

  set(change, inAddress = true) {
    Object.assign(this.state, change);
    this.show();
    const { metric, by, clip, all } = this.state;
    if (inAddress) history.replaceState(null, "", "#" + new URLSearchParams({ board: this.board.key, metric, by, clip, all }));
  }

  // The state of an address, which may be wrong in every part.
  restore(parts) {
    const change = {};
    if (this.board.columns.some(c => c.name == parts.metric)) change.metric = parts.metric;
    if (this.board.methods.some(m => m.id == parts.by)) change.by = parts.by;
    if (this.board.clips.some(c => c.key == parts.clip)) change.clip = parts.clip;
    if (parts.all) change.all = parts.all == "true";
    this.set(change, false);
  }

  show() {
    const { board, state } = this;
    this.column = board.columns.findIndex(c => c.name == state.metric);
    this.method = board.methods.findIndex(m => m.id == state.by);
    const better = board.columns[this.column].better;
    const score = clip => clip.scores[this.method][this.column];
    const scored = board.clips.filter(clip => score(clip) !== null).sort((a, b) => loss(score(b), better) - loss(score(a), better));
    const others = board.clips.filter(clip => score(clip) === null);
    this.order = [...scored, ...others].slice(0, state.all ? undefined : WORST);
    const shown = board.clips.find(clip => clip.key == state.clip) ?? this.order.find(clip => clip.media) ?? this.order[0];
    state.clip = shown.key;
    if (!this.order.includes(shown)) this.order.push(shown);
    this.metric.value = state.metric;
    this.few.textContent = `worst ${WORST} of ${board.methods[this.method].name}`;
    this.few.hidden = this.many.hidden = board.clips.length <= WORST;
    for (const [button, on] of [[this.few, !state.all], [this.many, state.all]]) {
      button.classList.toggle("on", on);
      button.setAttribute("aria-pressed", on);
    }
    this.table(shown);
    this.stage(shown);
  }

  format(value) { return value === null ? "–" : value.toFixed(this.board.columns[this.column].decimals); }

  table(shown) {
    const { board, column, method } = this;
    const values = board.clips.flatMap(clip => clip.scores.map(s => s[column])).filter(v => v !== null);
    const [low, high] = [values.reduce((a, b) => Math.min(a, b), Infinity), values.reduce((a, b) => Math.max(a, b), -Infinity)];
    const head = make("tr", {}, make("th", { scope: "col" }, "clip"), ...board.methods.map((m, i) => {
      const cell = make("th", { scope: "col" }, make("button", { type: "button", textContent: m.name,
        title: `worst of ${m.name} first`, onclick: () => this.set({ by: m.id, clip: null }) }));
      if (i == method) cell.setAttribute("aria-sort", "other");
      return cell;
    }));
    const body = this.order.map(clip => {
      const row = make("tr", {}, make("th", { scope: "row" }, ...clip.key.split(/(?<=_)/).flatMap(part => [part, make("wbr")])));
      row.classList.toggle("shown", clip === shown);
      row.classList.toggle("absent", !clip.media);
      board.methods.forEach((m, i) => {
        const value = clip.scores[i][column], here = clip === shown && i == method;
        const button = make("button", { type: "button", textContent: this.format(value), tabIndex: here ? 0 : -1,
          onclick: () => this.set({ clip: clip.key, by: m.id }) });
        button.style.setProperty("--share", value === null ? 0 : high > low ? (value - low) / (high - low) : 1);
        button.setAttribute("aria-pressed", here);
        button.setAttribute("aria-label", `${clip.key}, ${m.name}: ${this.format(value)}`);
        row.append(make("td", {}, button));
      });
      return row;
    });
    const focused = this.scores.contains(document.activeElement), [x, y] = [this.scores.scrollLeft, this.scores.scrollTop];
    this.scores.replaceChildren(make("table", { className: "sortable" }, make("thead", {}, head), make("tbody", {}, ...body)));
    this.scores.scrollTo(x, y);
    if (focused) this.scores.querySelector("[aria-pressed=true]")?.focus();
  }

  // Arrows walk over the scores; Tab comes to one of them only.
  walk(event) {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const cell = event.target.closest("td");
    if (!move || !cell) return;
    event.preventDefault();
    const row = cell.parentElement.parentElement.rows[cell.parentElement.sectionRowIndex + move[0]];
    row?.cells[cell.cellIndex + move[1]]?.querySelector("button")?.focus();
  }

  stage(clip) {
    const { board } = this;
    const at = this.order.indexOf(clip) + 1;
    this.title.textContent = `${clip.key} (${at} of ${this.order.length})`;
    if (this.staged === clip) { this.captions(clip); return; }
    this.staged = clip;
    const media = clip.media, tile = (name, file, given) => {
      const uri = files[file];
      const movie = uri?.startsWith("data:video/");
      const picture = !uri ? make("div", { className: "none", textContent: "no clip" })
        : movie ? make("video", { src: uri, muted: true, playsInline: true, preload: "auto", ariaLabel: name })
        : make("img", { src: uri, alt: name });
      return make("figure", { className: given ? "given" : "" },
        make("figcaption", {}, make("span", { textContent: name, title: name }), make("span", { className: "score" })), picture);
    };
    if (media) {
      this.figures = board.methods.map((m, i) => tile(m.name, media.methods[i], false));
      this.tiles.replaceChildren(tile("reference", media.reference, true), tile("line art", media.sketch, true),
        ...this.figures, tile("original", media.original, true));
    } else {
      this.figures = [];
      this.tiles.replaceChildren(make("p", { className: "none", textContent: "This clip is not in this page: it has scores only." }));
    }
    this.captions(clip);
    this.controls.hidden = !media;
    const movies = [...this.tiles.querySelectorAll("video")];
    this.player.load(movies.reverse(), media?.frames ?? 1, media?.fps ?? 1);  // the original leads
  }

  captions(clip) {
    this.figures.forEach((figure, i) => {
      figure.querySelector(".score").textContent = this.format(clip.scores[i][this.column]);
      figure.classList.toggle("chosen", i == this.method);
    });
  }
}

const viewers = new Map();
for (const board of boards) {
  const place = document.querySelector(`.viewer[data-board="${board.key}"]`);
  if (board.columns.length) viewers.set(board.key, new Viewer(place, board)); else place.remove();
}
for (const button of document.querySelectorAll("button.value")) button.onclick = () => {
  const place = button.closest(".board").querySelector(".viewer");
  viewers.get(place.dataset.board).set({ metric: button.dataset.column, by: button.dataset.method, clip: null, all: false });
  place.scrollIntoView({ behavior: still ? "auto" : "smooth" });
};
window.onhashchange = () => {
  const parts = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  viewers.get(parts.board)?.restore(parts);
};
window.onhashchange();
