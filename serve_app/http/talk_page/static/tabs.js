// Tabs as the ARIA practices describe them: arrows move between them.

export function makeTabs(list, onselect = () => {}) {
  const tabs = [...list.querySelectorAll("[role=tab]")];
  const select = (chosen) => {
    for (const tab of tabs) {
      const isChosen = tab === chosen;
      tab.setAttribute("aria-selected", isChosen);
      tab.tabIndex = isChosen ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !isChosen;
    }
    onselect(chosen.getAttribute("aria-controls"));
  };
  const steps = { ArrowRight: 1, ArrowLeft: -1 };
  list.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (step === undefined) return;
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.focus();
    select(next);
  });
  for (const tab of tabs) tab.onclick = () => select(tab);
  select(tabs.find((tab) => tab.getAttribute("aria-selected") === "true"));
  return (id) => select(tabs.find((tab) => tab.getAttribute("aria-controls") === id));
}
