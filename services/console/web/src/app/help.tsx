import { Dialog } from "../parts/dialog";

const KEYS = [
  ["Ctrl K", "Go to a page, a domain, an account or a pasted id"],
  ["/", "Search on this page"],
  ["j  k", "Next and previous row"],
  ["x", "Tick the row"],
  ["Enter", "Open the row"],
  ["Esc", "Close a dialog"],
  ["?", "This help"],
] as const;

export function Help({ close }: { close: () => void }) {
  return (
    <Dialog title="Keyboard" close={close}>
      <table className="plain">
        <caption className="unseen">Keys</caption>
        <tbody>
          {KEYS.map(([key, what]) => (
            <tr key={key}>
              <th scope="row">
                <kbd>{key}</kbd>
              </th>
              <td>{what}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Dialog>
  );
}
