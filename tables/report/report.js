// Sort a table when one of its headings is clicked.
"use strict";
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const headings = Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells);
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };
  const compare = (one, other, sign) => {
    const numbers = [typeof one === "number", typeof other === "number"];
    if (numbers[0] !== numbers[1]) return numbers[0] ? -1 : 1; // cells without a number come last in both orders
    return sign * (numbers[0] ? one - other : one.localeCompare(other));
  };
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const rows = Array.from(body.rows).filter((row) => !row.classList.contains("ruled")); // averages stay on top
      const numeric = rows.some((row) => row.cells[column].dataset.value !== undefined);
      const before = heading.getAttribute("aria-sort");
      const up = before ? before === "descending" : !numeric; // numbers: the highest first
      headings.forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      rows.sort((one, other) => compare(key(one, column), key(other, column), up ? 1 : -1));
      body.append(...rows);
    });
  });
}
