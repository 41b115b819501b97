"use strict";
(() => {
  const AT_ONCE = 100; // rows in the page; a browser lays out thousands slowly
  const ON_PAPER = 1000; // and puts them on paper more slowly still, or not at all
  const root = document.documentElement;
  root.classList.add("script"); // the style then holds later rows back until they are taken out

  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b));

  // What a column is sorted by: its figure, or the text that is the name; null where the cell is empty.
  const keyOf = (cell) => {
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    return (cell.querySelector("bdi") || cell).textContent || null;
  };

  const start = () => {
    const table = document.getElementById("models");
    if (!table) return;
    const get = (id) => document.getElementById(id);
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row) => ({ row, verdict: row.className, text: null, keys: [] }));
    const heads = Array.from(table.tHead.rows[0].cells);
    const choices = Array.from(get("tools").querySelectorAll("button"));
    const state = { column: 1, down: false, verdict: "", words: [], page: 0 };
    let order = rows;
    let found = rows;

    const textOf = (entry) => (entry.text ??= entry.row.textContent.toLowerCase());
    const key = (entry, column) => (entry.keys[column] ??= [keyOf(entry.row.cells[column])])[0];

    const sort = () => {
      const { column, down } = state;
      order = [...rows].sort((a, b) => {
        const [x, y] = [key(a, column), key(b, column)];
        if (x === null || y === null) return (x === null) - (y === null); // empty ones last, either way
        return down ? compare(y, x) : compare(x, y);
      });
      heads.forEach((head, place) => {
        if (place === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
    };

    const filter = () => {
      found = order.filter(
        (entry) =>
          (!state.verdict || entry.verdict === state.verdict) &&
          state.words.every((word) => textOf(entry).includes(word)),
      );
    };

    const put = (first, count) => {
      const here = found.slice(first, first + count);
      body.replaceChildren(...here.map((entry) => entry.row));
      const range = here.length < found.length ? `${first + 1} to ${first + here.length} of ` : "";
      const of = found.length < rows.length ? ` of ${rows.length}` : "";
      get("shown").textContent = found.length ? `${range}${found.length}${of} models.` : "No model is like this.";
    };

    const show = () => {
      const pages = Math.max(1, Math.ceil(found.length / AT_ONCE));
      state.page = Math.min(Math.max(0, state.page), pages - 1);
      put(state.page * AT_ONCE, AT_ONCE);
      get("page").textContent = `Page ${state.page + 1} of ${pages}`;
      get("back").disabled = state.page === 0;
      get("on").disabled = state.page === pages - 1;
      get("pager").hidden = pages === 1;
    };

    const update = () => {
      state.page = 0;
      filter();
      show();
    };

    const turn = (by) => {
      state.page += by;
      show();
      table.scrollIntoView({ block: "start" });
    };

    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        state.down = state.column === column && !state.down;
        state.column = column;
        sort();
        update();
      });
    });
    choices.forEach((button) =>
      button.addEventListener("click", () => {
        state.verdict = button.dataset.verdict;
        choices.forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
        update();
      }),
    );
    get("find").addEventListener("input", (event) => {
      state.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      update();
    });
    get("back").addEventListener("click", () => turn(-1));
    get("on").addEventListener("click", () => turn(1));
    window.addEventListener("beforeprint", () => put(0, ON_PAPER)); // on paper nobody turns pages
    window.addEventListener("afterprint", show);

    get("tools").hidden = false;
    update();
    root.classList.add("ready");
  };

  document.addEventListener("DOMContentLoaded", start);
})();
