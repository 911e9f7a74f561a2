"use strict";
const common = (() => { // for the page of a run and for the page of a comparison
  const read = id => JSON.parse(document.getElementById(id).textContent);
  const data = read("data");
  const expand = table => { // {column: values} -> rows
    const names = Object.keys(table);
    return (names.length ? table[names[0]] : []).map((_, i) => Object.fromEntries(names.map(n => [n, table[n][i]])));
  };
  const copy = rows => rows.map(r => ({ ...r })); // Vega writes into the rows that it is given
  const tip = document.body.appendChild(Object.assign(document.createElement("div"), { id: "vg-tooltip-element" }));
  const tooltip = (_, event, item, value) => { // beside the pointer, inside the window, without empty lines
    const shown = value !== null && value !== undefined && value !== "";
    tip.classList.toggle("visible", shown);
    if (!shown) return;
    if (typeof value !== "object") tip.textContent = value;
    else {
      const table = document.createElement("table");
      for (const [key, text] of Object.entries(value).filter(([, text]) => !["", "null", "–"].includes(String(text ?? "")))) {
        const line = table.insertRow();
        line.insertCell().textContent = key;
        line.insertCell().textContent = text;
      }
      tip.replaceChildren(table);
    }
    for (const [side, at, size, most] of [["left", event.clientX, tip.offsetWidth, innerWidth], ["top", event.clientY, tip.offsetHeight, innerHeight]]) {
      const after = at + 10, before = at - 10 - size;
      tip.style[side] = `${after + size <= most ? after : Math.max(before, 0)}px`;
    }
  };
  const embed = async (box, spec, rows, title) => {
    const options = {
      config: data.config, renderer: "svg", logLevel: 1 /* errors */, mode: "vega-lite", downloadFileName: box.id,
      actions: { export: true, source: false, compiled: false, editor: false }, tooltip,
    };
    const { view } = await vegaEmbed(box, { ...spec, datasets: { [spec.data.name]: copy(rows) } }, options);
    const svg = box.querySelector("svg.marks"), menu = box.querySelector("summary");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", title);
    for (const child of svg.children) child.setAttribute("aria-hidden", "true");
    if (menu) { menu.title = "Save this chart"; menu.setAttribute("aria-label", `Save the chart: ${title}`); }
    return view;
  };

  // ---- the button that switches between light and dark colours
  const button = document.getElementById("theme"), root = document.documentElement;
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-label", `Switch to ${dark() ? "light" : "dark"} colours`); };
  try { const saved = localStorage.getItem("explorer-theme"); if (saved === "dark" || saved === "light") root.dataset.theme = saved; } catch { /* no storage from disk in some browsers */ }
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("explorer-theme", root.dataset.theme); } catch { /* the choice lasts as long as the page */ }
    name();
  });
  name();
  return { read, data, expand, copy, embed };
})();
