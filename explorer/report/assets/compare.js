"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const expand = table => { const names = Object.keys(table); return (names.length ? table[names[0]] : []).map((_, i) => Object.fromEntries(names.map(n => [n, table[n][i]]))); };
  const root = document.documentElement, button = document.getElementById("theme");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-label", `Switch to ${dark() ? "light" : "dark"} colours`); };
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  name();
  const draw = async f => {
    const box = document.getElementById(f.id), title = document.getElementById(`${f.id}-title`).textContent;
    await vegaEmbed(box, { ...f.spec, datasets: { cells: expand(data.sets[f.rows]) } }, {
      config: data.config, renderer: "svg", logLevel: 1, mode: "vega-lite", downloadFileName: f.id, tooltip: { disableDefaultStyle: true },
      actions: { export: true, source: false, compiled: false, editor: false } });
    const svg = box.querySelector("svg.marks");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", title);
    for (const child of svg.children) child.setAttribute("aria-hidden", "true");
    box.querySelector("summary").setAttribute("aria-label", `Save the chart: ${title}`);
  };
  (async () => { for (const f of data.figures) await draw(f); root.dataset.ready = root.dataset.drawn = "yes"; })();
})();
