import { type ReactNode, useId, useState } from "react";

/** A button that opens a small menu below it; `children` is called when it opens. */
export function Menu(properties: {
  label: string;
  /** What a screen reader reads in place of the label. */
  name?: string;
  className?: string;
  children: () => ReactNode;
}) {
  const { label, name, className = "quiet", children } = properties;
  const id = useId();
  const [isOpen, setIsOpen] = useState(false);
  return (
    <>
      <button type="button" className={className} popoverTarget={id} aria-label={name}>
        {label}
      </button>
      <div
        id={id}
        popover="auto"
        className="menu"
        onToggle={(event) => setIsOpen(event.newState === "open")}
      >
        {isOpen && children()}
      </div>
    </>
  );
}
