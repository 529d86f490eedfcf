/* Whether somebody speaks, read out of the network's state; the twin of edgelearn/audio/activity.py. */
#include "edgelearn.h"
#include "edgelearn_tables.h"

void el_activity_reset(el_activity *activity)
{
    activity->sure = activity->sure_before_run = EL_NEVER;
    el_activity_begin(activity, 0, 0, 0);
}

void el_activity_begin(el_activity *activity, int32_t now, int anew, int decided)
{
    activity->talk = anew ? activity->sure_before_run : activity->sure;
    activity->anew = (uint8_t)anew;
    activity->decided = activity->in_noise = (uint8_t)decided;
    activity->spoke = activity->spoken = 0;
    activity->last = now;
    activity->run = activity->silent = 0;
}

el_told el_activity_push(el_activity *activity, int32_t now)
{
    const int16_t *h = el_layers[EL_LAYERS - 1].listening.h;
    int32_t score = EL_ACTIVITY_BIAS_Q18;
    for (int j = 0; j < EL_HIDDEN; j++) {
        score += h[j] * el_activity_q5[j];
    }
    if (score > -EL_SURE_Q18) {
        activity->silent = 0;
        activity->last = now - EL_LAG_FRAMES;
    } else {
        activity->silent++;
    }
    activity->spoken |= score >= EL_SPOKEN_Q18;
    if (activity->run == 0) {
        activity->sure_before_run = activity->sure;
    }
    activity->run = score > EL_SURE_Q18 ? activity->run + 1 : 0;
    if (score > EL_SPOKEN_Q18) { /* a readout without weights, which always says as much, knows of no talk */
        activity->sure = now - EL_LAG_FRAMES;
    }
    if (activity->run >= EL_BEGIN_FRAMES) {
        if (activity->in_noise) {
            return EL_BEGINS;
        }
        activity->spoke = 1;
    }
    if (activity->silent >= EL_END_FRAMES && !activity->in_noise) {
        activity->in_noise = 1;
        return activity->spoke ? EL_ENDED : EL_GOES_ON;
    }
    return EL_GOES_ON;
}
