"use strict";
// Sorting, method filter, light/dark. The page is complete without this script.
(function () {
  var root = document.documentElement;
  root.classList.add("js");

  document.getElementById("theme").addEventListener("click", function () {
    var dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  function filter() {
    var hidden = {};
    document.querySelectorAll("[data-filter]").forEach(function (box) { hidden[box.dataset.filter] = !box.checked; });
    document.querySelectorAll("[data-method]").forEach(function (part) { part.hidden = hidden[part.dataset.method] === true; });
  }
  document.querySelectorAll("[data-filter]").forEach(function (box) { box.addEventListener("change", filter); });
  filter(); // a reloaded page may keep unchecked boxes

  function key(row, index) {
    var cell = row.cells[index];
    return cell.dataset.sort === undefined ? cell.textContent.trim() : parseFloat(cell.dataset.sort);
  }
  function compare(a, b) {
    var numbers = typeof a === "number" && typeof b === "number";
    if (typeof a !== typeof b) { return typeof a === "number" ? -1 : 1; }
    return numbers ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
  }
  document.querySelectorAll("table.sortable").forEach(function (table) {
    table.querySelectorAll("thead th").forEach(function (head, index) {
      var button = document.createElement("button");
      button.type = "button";
      button.append.apply(button, Array.from(head.childNodes));
      head.append(button);
      button.addEventListener("click", function () {
        var down = head.getAttribute("aria-sort") === "ascending";
        table.querySelectorAll("thead th").forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        var rows = Array.from(table.tBodies[0].rows);
        rows.sort(function (a, b) { return (down ? -1 : 1) * compare(key(a, index), key(b, index)); });
        rows.forEach(function (row) { table.tBodies[0].append(row); });
      });
    });
  });

  var opened = [];
  var theme;
  addEventListener("beforeprint", function () {
    theme = root.dataset.theme;
    root.dataset.theme = "light";
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    opened.forEach(function (part) { part.open = true; });
  });
  addEventListener("afterprint", function () {
    opened.forEach(function (part) { part.open = false; });
    if (theme) { root.dataset.theme = theme; } else { delete root.dataset.theme; }
  });
}());
