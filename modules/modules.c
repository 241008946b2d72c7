/* SPDX-License-Identifier: Apache-2.0 */
#include "modules/modules.h"

#include <string.h>

const struct leat_module *const modules_builtin[] = {&module_word_count, &module_bank_transfer, &module_lsh,
                                                     &module_ivf, NULL};

const struct leat_module *modules_find(const char *name)
{
    for (int i = 0; modules_builtin[i] != NULL; i++)
        if (strcmp(modules_builtin[i]->name, name) == 0)
            return modules_builtin[i];
    return NULL;
}
