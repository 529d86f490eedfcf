/* What lies in flash: the constant tables of front end and classifier, and the model. */
#define EL_DEFINE_TABLES
#define EL_DEFINE_MODEL
#include "edgelearn_model.h"
#include "edgelearn_tables.h"
