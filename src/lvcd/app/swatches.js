// The colors that a region may be given: those of the shot, one button each, and any other.
const [list, own, named] = ["list", "own", "named"].map((name) => element.querySelector(`[data-part=${name}]`));
const show = () => {
  const { color, colors } = props.value;
  own.value = color;
  named.textContent = color;
  while (list.children.length > colors.length) list.lastChild.remove();
  colors.forEach((one, place) => {
    let button = list.children[place];
    if (!button) {
      button = document.createElement("button");
      button.type = "button";
      list.append(button);
    }
    button.style.background = one;
    button.dataset.color = one;
    button.title = one;
    button.setAttribute("aria-label", one);
    button.setAttribute("aria-pressed", one === color);
  });
};
const choose = (color) => {
  props.value = { ...props.value, color };
  show();
};
list.addEventListener("click", (event) => event.target.dataset.color && choose(event.target.dataset.color));
own.addEventListener("input", () => choose(own.value));
watch("value", show);
show();
