/** Draws panels as Grafana does, with its own components, from what its data source would have answered. */
import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import { createRoot } from 'react-dom/client';
import { NEVER } from 'rxjs';
import {
  createDataFrame,
  createTheme,
  dateTime,
  type DataFrame,
  FieldType,
  getDisplayProcessor,
  type LinkModel,
  type NumericRange,
  ThemeContext,
  type TimeRange,
} from '@grafana/data';
import {
  BigValue,
  BigValueColorMode,
  BigValueGraphMode,
  BigValueTextMode,
  GlobalStyles,
  PanelChrome,
  PanelContextProvider,
  TimeSeries,
  type UPlotConfigBuilder,
} from '@grafana/ui';

type Series = { name: string; values: [number, number][] };
/** A panel of a dashboard as its JSON has it, the place it has here (pixels), and what its queries gave. */
type Panel = { panel: any; x: number; y: number; width: number; height: number; series: Series[] };
/**
 * Times are seconds since 1970. `faults` are shaded, `alerts` are when which fired, and `at` is when the panels that show
 * one value were looked at.
 */
type Picture = {
  panels: Panel[];
  from: number;
  to: number;
  at: number;
  faults: [number, number][];
  alerts: [number, string][];
};

const theme = createTheme({ colors: { mode: 'dark' } });
const picture: Picture = (window as any).PICTURE;
const range: TimeRange = (() => {
  const [from, to] = [dateTime(picture.from * 1000), dateTime(picture.to * 1000)];
  return { from, to, raw: { from, to } };
})();

function spread(field: { values: (number | null)[] }): NumericRange {
  const finite = field.values.filter((value): value is number => Number.isFinite(value));
  const [min, max] = [Math.min(...finite), Math.max(...finite)];
  return { min, max, delta: max - min };
}

/** A frame of one series by the second; where one is missing there is a gap. */
function frame({ name, values }: Series, defaults: any, seriesIndex: number): DataFrame {
  const known = new Map(values.map(([at, value]) => [Math.round(at - picture.from), value]));
  const offsets = [];
  for (let at = 0; at <= picture.to - picture.from; at += 1) {
    offsets.push(at);
  }
  const made = createDataFrame({
    refId: `${seriesIndex}`,
    fields: [
      { name: 'time', type: FieldType.time, values: offsets.map((at) => (picture.from + at) * 1000) },
      { name, type: FieldType.number, values: offsets.map((at) => known.get(at) ?? null) },
    ],
  });
  for (const field of made.fields) {
    field.config = field.type === FieldType.number ? { ...defaults, displayName: name } : {};
    field.state = { seriesIndex, displayName: field.type === FieldType.number ? name : undefined, range: spread(field) };
    field.getLinks = (): LinkModel[] => [];
    field.display = getDisplayProcessor({ field, theme, timeZone: 'utc' });
  }
  return made;
}

/** Shade the times of the faults beneath the lines, and mark above them when alerts fired. */
function annotate(builder: UPlotConfigBuilder): null {
  builder.addHook('drawClear', (u) => {
    u.ctx.save();
    u.ctx.fillStyle = 'rgba(242, 73, 92, 0.15)';
    for (const [from, to] of picture.faults) {
      const [left, right] = [u.valToPos(from * 1000, 'x', true), u.valToPos(to * 1000, 'x', true)];
      u.ctx.fillRect(left, u.bbox.top, right - left, u.bbox.height);
    }
    u.ctx.restore();
  });
  builder.addHook('draw', (u) => {
    u.ctx.save();
    u.ctx.strokeStyle = u.ctx.fillStyle = theme.colors.error.text;
    u.ctx.font = `500 11px ${theme.typography.fontFamily}`;
    u.ctx.textBaseline = 'top';
    picture.alerts.forEach(([at, name], index) => {
      const left = u.valToPos(at * 1000, 'x', true);
      u.ctx.fillRect(left, u.bbox.top, 1, u.bbox.height);
      u.ctx.textAlign = left > u.bbox.left + u.bbox.width / 2 ? 'right' : 'left';
      u.ctx.fillText(name, left + (u.ctx.textAlign === 'left' ? 4 : -4), u.bbox.top + 3 + 14 * index);
    });
    u.ctx.restore();
  });
  return null;
}

function Stat({ frames, width, height }: { frames: DataFrame[]; width: number; height: number }) {
  const wide = width / Math.max(1, frames.length);
  return (
    <div style={{ display: 'flex' }}>
      {frames.map((one) => {
        const [time, field] = one.fields;
        const until = time.values.filter((moment) => moment <= picture.at * 1000).length;
        const last = field.values.slice(0, until).findLast((value) => value !== null) ?? null;
        const value = field.display!(last);
        const title = frames.length > 1 ? field.config.displayName : undefined;
        return (
          <BigValue
            key={one.refId}
            width={wide}
            height={height}
            theme={theme}
            value={{ ...value, title }}
            sparkline={{ x: time, y: field }}
            colorMode={BigValueColorMode.Background}
            graphMode={BigValueGraphMode.Area}
            textMode={title ? BigValueTextMode.ValueAndName : BigValueTextMode.Value}
          />
        );
      })}
    </div>
  );
}

function Drawn({ panel, x, y, width, height, series }: Panel) {
  const frames = series.map((one, index) => frame(one, panel.fieldConfig?.defaults, index));
  const place = { position: 'absolute', left: x, top: y, width, height } as const;
  if (panel.type === 'row') {
    return <div style={{ ...place, color: theme.colors.text.primary, padding: 8, fontWeight: 500 }}>{panel.title}</div>;
  }
  return (
    <div style={place}>
      <PanelChrome title={panel.title} description={panel.description} width={width} height={height} padding="md">
        {(inner, outer) =>
          panel.type === 'stat' ? (
            <Stat frames={frames} width={inner} height={outer} />
          ) : (
            <TimeSeries
              frames={frames}
              width={inner}
              height={outer}
              timeRange={range}
              timeZone="utc"
              legend={panel.options.legend}
            >
              {annotate}
            </TimeSeries>
          )
        }
      </PanelChrome>
    </div>
  );
}

/** Nobody moves a mouse here. */
const silence: any = { getStream: () => NEVER, publish: () => {} };

createRoot(document.getElementById('root')!).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <PanelContextProvider value={{ eventBus: silence, eventsScope: 'none' }}>
      {picture.panels.map((one, index) => (
        <Drawn key={index} {...one} />
      ))}
    </PanelContextProvider>
  </ThemeContext.Provider>,
);
