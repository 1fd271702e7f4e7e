/** The kinds of document that are checked, as those say who read them. */
import type { IScaledObject } from '@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject';
import type { ITriggerAuthentication } from '@kubernetes-models/keda/keda.sh/v1alpha1/TriggerAuthentication';
import type { IPodMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor';
import type { IPrometheusRule } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule';
import type { Dashboard } from './node_modules/@grafana/schema/dist/types/raw/dashboard/x/types.gen';
import type * as stat from './node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type * as timeseries from './node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';

export type Kinds = {
  ScaledObject: IScaledObject;
  TriggerAuthentication: ITriggerAuthentication;
  PodMonitor: IPodMonitor;
  PrometheusRule: IPrometheusRule;
  Dashboard: Dashboard;
  stat: { options: stat.Options };
  timeseries: { options: timeseries.Options; custom: timeseries.FieldConfig };
};
