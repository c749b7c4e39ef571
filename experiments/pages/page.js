"use strict";

// Show the values of a chart where the pointer is, or where the arrow keys are.
for (const plot of document.querySelectorAll(".plot")) {
  const { places, columns } = JSON.parse(plot.querySelector("script").textContent);
  const make = (className, parent) => {
    const element = document.createElement("div");
    element.className = className;
    return parent.appendChild(element);
  };
  const slider = make("values", plot), guide = make("guide", plot), tip = make("tip", plot);
  const words = column => `${column.at}: ${column.rows.map(([label, value]) => `${label} ${value}`).join("; ")}`;
  const attributes = {
    role: "slider", tabindex: 0, "aria-label": "Values, by arrow keys",
    "aria-valuemin": 0, "aria-valuemax": columns.length - 1,
  };
  for (const [name, value] of Object.entries(attributes)) slider.setAttribute(name, value);
  const size = () => places[plot.querySelector(".narrow").offsetHeight ? "narrow" : "wide"];
  let at = 0;
  const select = number => {
    at = Math.min(Math.max(number, 0), columns.length - 1);
    slider.setAttribute("aria-valuenow", at);
    slider.setAttribute("aria-valuetext", words(columns[at]));
  };
  const show = shown => {
    guide.hidden = tip.hidden = !shown;
    if (!shown) return;
    const [xs, top, bottom] = size();
    const phone = size() === places.narrow;
    const { clientWidth: width, clientHeight: height } = plot;
    const x = xs[at] * width;
    Object.assign(guide.style, { left: `${x}px`, top: `${top * height}px`, height: `${(bottom - top) * height}px` });
    const title = document.createElement("b");
    title.textContent = columns[at].at;
    tip.replaceChildren(title, ...columns[at].rows.map(([label, value, colour]) => {
      const row = document.createElement("div"), name = document.createElement("span"), number = document.createElement("span");
      name.textContent = label;
      name.style.color = `var(--${colour})`;
      number.textContent = value;
      row.append(name, number);
      return row;
    }));
    const beside = x + 12 + tip.offsetWidth <= width ? x + 12 : x - 12 - tip.offsetWidth;
    Object.assign(tip.style, { left: `${Math.max(0, Math.min(beside, width - tip.offsetWidth))}px`, top: `${phone ? height : top * height}px` });
  };
  const nearest = event => {
    const share = (event.clientX - plot.getBoundingClientRect().left) / plot.clientWidth;
    const far = size()[0].map(x => Math.abs(x - share));
    return far.indexOf(Math.min(...far));
  };
  const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -Infinity, End: Infinity };
  slider.addEventListener("keydown", event => {
    if (event.key === "Escape") return show(false);
    if (!(event.key in steps)) return;
    event.preventDefault();
    select(at + steps[event.key]);
    show(true);
  });
  for (const name of ["pointermove", "pointerdown"]) slider.addEventListener(name, event => { select(nearest(event)); show(true); });
  slider.addEventListener("pointerleave", () => show(document.activeElement === slider));
  slider.addEventListener("focus", () => show(slider.matches(":focus-visible")));
  slider.addEventListener("blur", () => show(false));
  select(0);
  show(false);
}

// Sort a table by the column whose heading is pressed; equal entries keep their order. Filter it by words.
for (const table of document.querySelectorAll(".sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    header.querySelector("button").addEventListener("click", () => {
      const ascending = header.getAttribute("aria-sort") !== "ascending";
      for (const other of headers) other.setAttribute("aria-sort", "none");
      header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const value = entry => entry.rows[0].cells[column].dataset.value;
      const compare = (a, b) => {
        const [x, y] = [Number(value(a)), Number(value(b))];
        return Number.isNaN(x) || Number.isNaN(y) ? value(a).localeCompare(value(b)) : x - y;
      };
      table.append(...[...table.tBodies].sort((a, b) => ascending ? compare(a, b) : compare(b, a)));
    });
  });
  const input = table.parentElement.querySelector(".filter input");
  if (!input) continue;
  const status = table.parentElement.querySelector("[role=status]");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const entries = [...table.tBodies];
    for (const entry of entries) {
      const text = entry.textContent.toLowerCase();
      entry.hidden = !words.every(word => text.includes(word));
    }
    status.textContent = words.length ? `${entries.filter(entry => !entry.hidden).length} of ${entries.length} rows` : "";
  });
}

// Print what is folded away, and fold it again.
const folded = [];
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not([open])")) { details.open = true; folded.push(details); }
});
addEventListener("afterprint", () => { for (const details of folded.splice(0)) details.open = false; });

// A link to a section that is folded away opens it.
const unfold = () => {
  const details = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)))?.closest("details");
  if (details) details.open = true;
};
addEventListener("hashchange", unfold);
unfold();
