import type { Schemas } from "../api/client";

/** Why a message was judged so: its rules with their points, and what its sender proved. */
export function Verdict({ verdict }: { verdict: Schemas["VerdictView"] }) {
  return (
    <>
      <table>
        <caption>
          {verdict.score} points
          {verdict.virus !== null && `, virus ${verdict.virus}`}
        </caption>
        <thead>
          <tr>
            <th scope="col">Rule</th>
            <th scope="col" className="end">
              Points
            </th>
            <th scope="col">Detail</th>
          </tr>
        </thead>
        <tbody>
          {verdict.rules.map((rule) => (
            <tr key={`${rule.name} ${rule.detail}`}>
              <td>{rule.name}</td>
              <td className="end">{rule.points}</td>
              <td>{rule.detail}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {verdict.authentication.length > 0 && (
        <ul>
          {verdict.authentication.map((check) => (
            <li key={`${check.method} ${check.identity} ${check.detail}`}>
              {check.method}: {check.result} {check.identity && <code>{check.identity}</code>}{" "}
              {check.detail}
            </li>
          ))}
        </ul>
      )}
    </>
  );
}
