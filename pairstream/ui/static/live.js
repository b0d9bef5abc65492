"use strict";
// Asks for the page again and puts what is new in its place; without scripts the browser reloads.
(() => {
  const main = document.querySelector("main[data-refresh]");
  const told = document.getElementById("told");
  if (!main) return;

  const busy = () => {
    const at = document.activeElement;
    return main.contains(at) && (!at.id || at.matches("input, select, textarea, button"));
  };

  const replace = (page) => {
    const fresh = page.querySelector("main");
    const opened = [...main.querySelectorAll("details[open][id]")].map((each) => each.id);
    const focused = main.contains(document.activeElement) ? document.activeElement.id : "";
    const scrolled = [...main.querySelectorAll(".scroll[id]")].map((e) => [e.id, e.scrollLeft]);
    main.replaceChildren(...fresh.childNodes);
    opened.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
    scrolled.forEach(([id, left]) => {
      const each = document.getElementById(id);
      if (each) each.scrollLeft = left;
    });
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    return fresh.dataset.refresh;
  };

  const look = async () => {
    let seconds = main.dataset.refresh;
    if (!document.hidden && !busy()) {
      try {
        const answer = await fetch(location.href, { credentials: "same-origin" });
        if (!answer.ok) throw new Error(String(answer.status));
        seconds = replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
        told.textContent = "";
      } catch {
        told.textContent = "The site does not answer; this is what it showed last.";
      }
    }
    if (seconds) setTimeout(look, 1000 * Number(seconds));
  };
  setTimeout(look, 1000 * Number(main.dataset.refresh));
})();
