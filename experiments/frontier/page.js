"use strict";
// Sort a table by the column whose heading is pressed. Numbers sort by value; equal rows keep their order.
for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = header.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const ascending = header.getAttribute("aria-sort") !== "ascending";
      for (const other of headers) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const body = table.tBodies[0];
      const value = row => row.cells[column].dataset.value;
      const compare = (a, b) => {
        const [x, y] = [Number(value(a)), Number(value(b))];
        return Number.isNaN(x) || Number.isNaN(y) ? value(a).localeCompare(value(b)) : x - y;
      };
      body.append(...[...body.rows].sort((a, b) => ascending ? compare(a, b) : compare(b, a)));
      document.getElementById("sorted").textContent =
        `Sorted by ${button.textContent}, ${ascending ? "ascending" : "descending"}.`;
    });
  });
}
