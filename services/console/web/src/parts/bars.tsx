/** A small bar chart; screen readers get its label. */
export function Bars({ values, label }: { values: readonly number[]; label: string }) {
  const most = Math.max(1, ...values);
  const width = 100 / Math.max(1, values.length);
  return (
    <svg
      className="bars"
      viewBox="0 0 100 24"
      preserveAspectRatio="none"
      role="img"
      aria-label={label}
    >
      {values.map((value, place) => {
        const height = value === 0 ? 0 : Math.max(1, (value / most) * 23);
        return (
          <rect
            // biome-ignore lint/suspicious/noArrayIndexKey: a bar is its place
            key={place}
            x={place * width + width * 0.1}
            y={24 - height}
            width={width * 0.8}
            height={height}
          />
        );
      })}
    </svg>
  );
}
