"use strict";
// Sorting, filters, switches, values of points, light/dark. The page is complete to read without this script.
(function () {
  var root = document.documentElement;
  root.classList.add("js");
  function all(selector, within) { return Array.from((within || document).querySelectorAll(selector)); }
  function make(tag, attributes, words) {
    var element = document.createElement(tag);
    Object.keys(attributes || {}).forEach(function (name) { element.setAttribute(name, attributes[name]); });
    if (words !== undefined) { element.textContent = words; }
    return element;
  }

  // light and dark
  var theme = document.getElementById("theme");
  function isDark() { return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches; }
  if (theme) {
    theme.setAttribute("aria-pressed", String(isDark()));
    theme.addEventListener("click", function () {
      root.dataset.theme = isDark() ? "light" : "dark";
      theme.setAttribute("aria-pressed", String(isDark()));
    });
  }

  // methods shown
  function filterMethods() {
    var hidden = {};
    all("[data-filter]").forEach(function (box) { hidden[box.dataset.filter] = !box.checked; });
    all("[data-method]").forEach(function (part) {
      var hide = hidden[part.dataset.method] === true;
      if (part.hidden !== hide) { part.hidden = hide; }
    });
  }
  all("[data-filter]").forEach(function (box) { box.addEventListener("change", filterMethods); });
  filterMethods(); // a reloaded page may keep unchecked boxes

  // switches: one panel seen at a time
  all(".tabs").forEach(function (group) {
    var panels = Array.from(group.children).filter(function (part) { return part.classList.contains("panel"); });
    var list = make("div", { role: "tablist", "aria-labelledby": group.id + "-title" });
    var tabs = panels.map(function (panel, index) {
      var tab = make("button", { type: "button", role: "tab", id: panel.id + "-tab", "aria-controls": panel.id }, panel.getAttribute("aria-label"));
      panel.setAttribute("role", "tabpanel");
      panel.removeAttribute("aria-label");
      panel.setAttribute("aria-labelledby", tab.id);
      tab.addEventListener("click", function () { choose(index); });
      tab.addEventListener("keydown", function (event) {
        var step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        var next = event.key === "Home" ? 0 : event.key === "End" ? panels.length - 1 : step && (index + step + panels.length) % panels.length;
        if (next === undefined) { return; }
        event.preventDefault();
        choose(next);
        tabs[next].focus();
      });
      list.append(tab);
      return tab;
    });
    function choose(chosen) {
      tabs.forEach(function (tab, index) {
        tab.setAttribute("aria-selected", String(index === chosen));
        tab.tabIndex = index === chosen ? 0 : -1;
        panels[index].classList.toggle("off", index !== chosen);
      });
    }
    panels.forEach(function (panel, index) { panel.reveal = function () { choose(index); }; });
    if (panels.length > 1) { panels[0].before(list); choose(0); }
  });

  // tables: sorted by their headings, filtered by text
  function key(row, index) {
    var cell = row.cells[index];
    return cell.dataset.sort === undefined ? cell.textContent.trim() : parseFloat(cell.dataset.sort);
  }
  function compare(a, b) {
    if (typeof a !== typeof b) { return typeof a === "number" ? -1 : 1; }
    return typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
  }
  function sortBy(table, heads, index) {
    var down = heads[index].getAttribute("aria-sort") === "ascending";
    heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
    heads[index].setAttribute("aria-sort", down ? "descending" : "ascending");
    var rows = Array.from(table.tBodies[0].rows).map(function (row) { return { row: row, key: key(row, index) }; });
    rows.sort(function (a, b) { // numbers before texts, such as the dash of what is missing, whichever way
      var mixed = typeof a.key !== typeof b.key;
      return (down && !mixed ? -1 : 1) * compare(a.key, b.key);
    });
    table.tBodies[0].append.apply(table.tBodies[0], rows.map(function (item) { return item.row; }));
  }
  function addFilter(table) {
    var rows = Array.from(table.tBodies[0].rows);
    if (rows.length <= 8) { return; }
    var label = make("label", { "class": "row-filter" }, "Rows with ");
    var box = make("input", { type: "search", "aria-controls": table.id, autocomplete: "off", spellcheck: "false" });
    var count = make("output", { "class": "small" });
    var texts;
    box.addEventListener("input", function () {
      texts = texts || rows.map(function (row) { return row.textContent.toLowerCase(); });
      var words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      var kept = 0;
      rows.forEach(function (row, index) {
        var keep = words.every(function (word) { return texts[index].includes(word); });
        row.classList.toggle("filtered", !keep);
        kept += keep ? 1 : 0;
      });
      count.textContent = words.length ? kept + " of " + rows.length + " rows" : "";
    });
    label.append(box);
    var frame = table.closest(".scroll") || table;
    var place = frame.previousElementSibling;
    if (!place || !place.classList.contains("about-table")) {
      place = make("div", { "class": "about-table" });
      frame.before(place);
    }
    place.prepend(label, count);
  }
  all("table.sortable").forEach(function (table) {
    var heads = all("thead th", table);
    heads.forEach(function (head, index) {
      var button = make("button", { type: "button" });
      button.append.apply(button, Array.from(head.childNodes));
      head.append(button);
      button.addEventListener("click", function () { sortBy(table, heads, index); });
    });
    addFilter(table);
  });

  // what a point of a plot stands for: by pointer, or with the arrow keys once the plot has the focus
  function unpack(text) { // base64 of raw deflate of JSON: reports/render.py; the form of the data is told in reports/live.py
    var bytes = Uint8Array.from(atob(text), function (letter) { return letter.charCodeAt(0); });
    var stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return new Response(stream).json();
  }
  function read(stage) { // once, when a reader comes to the plot
    stage.reading = stage.reading || unpack(stage.dataset.live).then(function (live) {
      var found = [];
      live.panels.forEach(function (panel, which) {
        panel.points.split(";").filter(Boolean).forEach(function (text) {
          var parts = text.split(" ");
          found.push({ x: parts[0] / 1e4, y: parts[1] / 1e4, name: +parts[2], values: parts.slice(3), panel: which });
        });
      });
      found.sort(function (a, b) { return a.panel - b.panel || a.x - b.x; });
      stage.live = live;
      stage.points = found;
    });
    return stage.reading;
  }
  function words(stage, point) {
    var shared = stage.live.shared[point.name];
    var values = (shared ? shared.split(" ") : []).concat(point.values).map(function (value, index) {
      return stage.live.labels[index] + " " + value.replace("-", "\u2212");
    });
    return [stage.live.panels[point.panel].title, stage.live.names[point.name]].concat(values).filter(Boolean);
  }
  function show(stage, index) {
    var point = stage.points[index];
    stage.at = index;
    stage.ring.style.left = stage.tip.style.left = 100 * point.x + "%";
    stage.ring.style.top = stage.tip.style.top = 100 * point.y + "%";
    stage.tip.classList.toggle("leftward", point.x > 0.6);
    stage.tip.replaceChildren.apply(stage.tip, words(stage, point).map(function (line) { return make("span", {}, line); }));
    stage.ring.hidden = stage.tip.hidden = false;
  }
  function hide(stage) { stage.ring.hidden = stage.tip.hidden = true; }
  function nearest(stage, event) {
    var box = stage.getBoundingClientRect();
    var best = -1, least = 18 * 18; // CSS pixels: farther away nothing is meant
    stage.points.forEach(function (point, index) {
      var dx = box.left + point.x * box.width - event.clientX, dy = box.top + point.y * box.height - event.clientY;
      if (dx * dx + dy * dy < least) { least = dx * dx + dy * dy; best = index; }
    });
    return best;
  }
  all("DecompressionStream" in window ? "[data-live]" : ".no-such-browser").forEach(function (stage) {
    stage.tabIndex = 0;
    stage.setAttribute("role", "application");
    stage.setAttribute("aria-label", stage.dataset.name + ": the arrow keys go from point to point");
    stage.ring = make("span", { "class": "ring-mark", "aria-hidden": "true" });
    stage.tip = make("output", { "class": "tip", "aria-live": "polite" });
    hide(stage);
    stage.append(stage.ring, stage.tip);
    stage.addEventListener("pointermove", function (event) {
      var at = { clientX: event.clientX, clientY: event.clientY };
      stage.pointed = at;
      read(stage).then(function () {
        if (stage.pointed !== at) { return; }
        var index = nearest(stage, at);
        if (index < 0) { hide(stage); } else if (index !== stage.at || stage.tip.hidden) { show(stage, index); }
      });
    });
    stage.addEventListener("pointerleave", function () {
      stage.pointed = null;
      hide(stage);
    });
    stage.addEventListener("blur", function () { hide(stage); });
    stage.addEventListener("keydown", function (event) {
      var step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
      if (event.key === "Escape") { hide(stage); return; }
      if (step === undefined && event.key !== "Home" && event.key !== "End") { return; }
      event.preventDefault();
      read(stage).then(function () {
        var count = stage.points.length;
        if (!count) { return; }
        var from = stage.at === undefined ? (step > 0 ? -1 : count) : stage.at;
        show(stage, event.key === "Home" ? 0 : event.key === "End" ? count - 1 : (((from + step) % count) + count) % count);
      });
    });
  });

  // where a link leads is unfolded and chosen first
  function reveal() {
    var target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) { return; }
    for (var part = target; part; part = part.parentElement) {
      if (part.tagName === "DETAILS") { part.open = true; }
      if (part.reveal) { part.reveal(); }
    }
    settle(target, 12);
  }
  function settle(target, frames) { // sections get their true height when they come near, which moves what lies below
    var before = target.getBoundingClientRect().top;
    target.scrollIntoView();
    requestAnimationFrame(function () {
      if (frames && Math.abs(target.getBoundingClientRect().top - before) > 1) { settle(target, frames - 1); }
    });
  }
  addEventListener("hashchange", reveal);
  document.addEventListener("click", function (event) { // also where the address already says so
    var link = event.target.closest && event.target.closest("a[href^='#']");
    if (link && link.hash === location.hash) { reveal(); }
  });
  reveal();

  // which section is being read
  var places = all("nav a[href^='#']");
  if (places.length && "IntersectionObserver" in window) {
    var seen = new IntersectionObserver(function (entries) {
      entries.forEach(function (entry) {
        if (!entry.isIntersecting) { return; }
        places.forEach(function (link) {
          if (link.hash === "#" + entry.target.id) { link.setAttribute("aria-current", "true"); } else { link.removeAttribute("aria-current"); }
        });
      });
    }, { rootMargin: "-15% 0px -80% 0px" });
    all("main > section[id]").forEach(function (section) { seen.observe(section); });
  }

  // on paper everything is unfolded, and light
  var opened = [], before;
  addEventListener("beforeprint", function () {
    before = root.dataset.theme;
    root.dataset.theme = "light";
    opened = all("details:not([open])");
    opened.forEach(function (part) { part.open = true; });
    all("img[loading]").forEach(function (image) { image.loading = "eager"; });
  });
  addEventListener("afterprint", function () {
    opened.forEach(function (part) { part.open = false; });
    if (before) { root.dataset.theme = before; } else { delete root.dataset.theme; }
  });
}());
