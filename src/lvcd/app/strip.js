// The strip of drawings: one button each. Tab reaches the chosen one, arrow keys walk, Enter and a click choose.
const list = element.querySelector("[role=listbox]");
const show = () => {
  const { drawings, selected } = props.value || { drawings: [], selected: 0 };
  while (list.children.length > drawings.length) list.lastChild.remove();
  drawings.forEach((drawing, place) => {
    let item = list.children[place];
    if (!item) {
      item = document.createElement("button");
      item.type = "button";
      item.setAttribute("role", "option");
      item.append(document.createElement("img"), document.createElement("span"));
      list.append(item);
    }
    const [picture, words] = item.children;
    if (picture.getAttribute("src") !== drawing.picture) picture.src = drawing.picture;
    picture.alt = "";
    picture.width = drawing.width; // also before it is there
    picture.height = drawing.height;
    picture.loading = "lazy";
    words.textContent = drawing.label + (drawing.mark ? " " + drawing.mark : "");
    item.dataset.mark = drawing.mark;
    item.setAttribute("aria-label", `drawing ${drawing.label}${drawing.mark ? ", " + drawing.mark : ""}`);
    item.setAttribute("aria-selected", place === selected);
    item.tabIndex = place === selected ? 0 : -1;
  });
  list.children[selected]?.scrollIntoView({ block: "nearest", inline: "nearest" });
};
const choose = (place) => trigger("select", { place });
list.addEventListener("click", (event) => {
  const item = event.target.closest("button");
  if (item) choose([...list.children].indexOf(item));
});
list.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const next = step && list.children[[...list.children].indexOf(document.activeElement) + step];
  if (next) {
    event.preventDefault();
    next.focus();
  }
});
watch("value", show);
show();
